"""What the page of `edgeseg serve` does with results, frames and runs, in Node.js: no browser is needed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeseg.devices import browser

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js here: apt install nodejs")

ENGINE = """
export const env = { wasm: {} };
export class Tensor { constructor(dtype, data) { this.data = data; } }
export class InferenceSession {
  static create = async () => new InferenceSession();
  inputNames = ["x"]; outputNames = ["x"];
  async run() {
    world.runs++;
    world.most = Math.max(world.most, ++world.active);
    await world.slow;
    world.active--;
    return { x: { data: new Float32Array(32) } };
  }
  release() {}
}
"""


def on_page(folder: Path, script: str) -> dict[str, object]:
    """Return what a script prints that uses the page, its document and its camera."""
    engine = folder / "page/runtime/onnxruntime-web/dist/ort.wasm.min.mjs"
    engine.parent.mkdir(parents=True)
    engine.write_text(ENGINE)
    for path in Path(browser.__file__).parent.glob("*.js"):
        shutil.copy(path, folder / "page")
    (folder / "page/package.json").write_text('{"type": "module"}')
    shutil.copy(Path(__file__).parents[1] / "contracts/bench_page.mjs", folder)
    begin = 'import { $, frame, idle, page, pause, until, world } from "./bench_page.mjs";\n'
    (folder / "test.mjs").write_text(f"{begin}{script}\nprocess.exit(0);\n")
    done = subprocess.run(
        ["node", "test.mjs", str(folder / "page")], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_results_that_wait_are_kept_until_each_is_sent(tmp_path: Path) -> None:
    found = on_page(
        tmp_path,
        """
world.online = false;
for (let turn = 0; turn < 2; turn++) { $("form").fire("submit"); await idle(); }
$("threads").value = "2";  // needs a new page, which would forget them
$("form").fire("submit");
await idle();
const trouble = $("trouble").textContent, { reloads } = world;
world.online = true;
$("again").fire("click");
await idle();
console.log(JSON.stringify({ trouble, reloads, posted: world.posted.length, hidden: $("again").hidden }));
""",
    )
    assert "The result waits here" in str(found.pop("trouble"))
    assert found == {"reloads": 0, "posted": 2, "hidden": True}


def test_a_refused_result_does_not_wait(tmp_path: Path) -> None:
    found = on_page(
        tmp_path,
        """
$("camera").fire("click");
await idle();
$("camera").fire("click");
world.refuses = true;
$("form").fire("submit");
await idle();
console.log(JSON.stringify({ trouble: $("trouble").textContent, waits: page.state.unsent.length }));
""",
    )
    assert found == {"trouble": "no", "waits": 0}


def test_a_frame_that_comes_while_another_artifact_loads_is_left_out(tmp_path: Path) -> None:
    found = on_page(
        tmp_path,
        """
$("camera").fire("click");
await idle();
await until(() => world.waiting.length);
let open;
world.gate = new Promise((resolve) => { open = resolve; });
$("offers").selectedIndex = 1;
$("form").fire("submit");
await pause();
frame();
await pause();
console.log(JSON.stringify({ trouble: $("trouble").textContent }));
""",
    )
    assert found == {"trouble": ""}


def test_the_engine_runs_one_image_at_a_time(tmp_path: Path) -> None:
    found = on_page(
        tmp_path,
        """
$("camera").fire("click");
await idle();
await until(() => world.waiting.length);
let done;
world.slow = new Promise((resolve) => { done = resolve; });
frame();
await until(() => world.active === 1);
$("form").fire("submit");
await pause();
frame();
await pause();
done();
console.log(JSON.stringify({ most: world.most }));
""",
    )
    assert found == {"most": 1}


def test_after_the_other_camera_each_frame_runs_once(tmp_path: Path) -> None:
    found = on_page(
        tmp_path,
        """
$("camera").fire("click");
await idle();
await until(() => world.waiting.length);
$("turn").fire("click");
await idle();
await pause();
const before = world.runs;
for (let shown = 0; shown < 3; shown++) { frame(); await pause(); }
console.log(JSON.stringify({ runs: world.runs - before, trouble: $("trouble").textContent }));
""",
    )
    assert found == {"runs": 3, "trouble": ""}


def test_a_page_that_was_hidden_for_a_moment_ends_its_runs(tmp_path: Path) -> None:
    found = on_page(
        tmp_path,
        """
$("form").fire("submit");
await until(() => world.runs > 3);
document.hide(true);
document.hide(false);
await idle();
console.log(JSON.stringify({ trouble: $("trouble").textContent, posted: world.posted.length }));
""",
    )
    assert "was hidden" in str(found["trouble"])
    assert found["posted"] == 0
