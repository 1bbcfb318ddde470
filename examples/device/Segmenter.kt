// Reads an edgeseg TFLite artifact and segments a bitmap on Android. Not compiled in edgeseg's tests.
//
// build.gradle.kts: implementation("com.google.ai.edge.litert:litert:1.4.0")
// Copy the artifact's folder to the app's files, for example from assets; `folder` is its path.

package edgeseg

import android.graphics.Bitmap
import java.io.Closeable
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

class Segmenter(folder: File, threads: Int = 2) : Closeable {
    private val manifest = JSONObject(File(folder, "manifest.json").readText())
    private val input = manifest.getJSONArray("inputs").getJSONObject(0)
    private val output = manifest.getJSONArray("outputs").getJSONObject(0)
    private val preprocess = manifest.getJSONObject("preprocess")
    private val height = input.getJSONArray("shape").getInt(1)
    private val width = input.getJSONArray("shape").getInt(2)
    private val interpreter: Interpreter

    val classes: List<String> =
        manifest.getJSONObject("spec").getJSONArray("classes").let { names -> List(names.length()) { names.getString(it) } }

    init {
        verifyFiles(folder)
        require(manifest.getString("format") == "tflite") { "not a TFLite artifact" }
        require(input.getString("dtype") == "uint8" && input.getString("layout") == "NHWC") { "an input of bytes is needed" }
        require(preprocess.getString("resize") == "stretch") { "letterboxed artifacts are not handled here" }
        interpreter = Interpreter(File(folder, manifest.getString("entry")), Interpreter.Options().setNumThreads(threads))
    }

    /** Class ids at the size of the artifact's output, row by row. */
    fun segment(image: Bitmap): ByteArray {
        val scaled = Bitmap.createScaledBitmap(image, width, height, true)
        val colours = IntArray(width * height)
        scaled.getPixels(colours, 0, width, 0, 0, width, height)
        val rgb = preprocess.getString("color_order") == "rgb"
        val pixels = ByteBuffer.allocateDirect(3 * width * height)
        for (colour in colours) {
            val (red, green, blue) = Triple(colour shr 16, colour shr 8, colour)
            pixels.put((if (rgb) red else blue).toByte()).put(green.toByte()).put((if (rgb) blue else red).toByte())
        }
        pixels.rewind()
        val shape = output.getJSONArray("shape")
        val cells = shape.getInt(1) * shape.getInt(2)
        val isLabels = output.getString("role") == "labels"
        val channels = if (isLabels) 1 else shape.getInt(3)
        val isByte = output.getString("dtype") == "int8"
        val raw = ByteBuffer.allocateDirect(cells * channels * (if (isByte) 1 else 4)).order(ByteOrder.nativeOrder())
        interpreter.run(pixels, raw)
        raw.rewind()
        if (isLabels) return ByteArray(cells) { raw.getInt(4 * it).toByte() }
        // A quantized tensor has one scale, so that its largest number belongs to the best class.
        fun value(index: Int): Float = if (isByte) raw.get(index).toFloat() else raw.getFloat(4 * index)
        return ByteArray(cells) { cell ->
            (0 until channels).maxByOrNull { value(cell * channels + it) }!!.toByte()
        }
    }

    override fun close() = interpreter.close()

    private fun verifyFiles(folder: File) {
        val files = manifest.getJSONArray("files")
        for (index in 0 until files.length()) {
            val file = files.getJSONObject(index)
            val path = File(folder, file.getString("path"))
            require(path.canonicalPath.startsWith(folder.canonicalPath + File.separator)) { "$path is outside the artifact" }
            val digest = MessageDigest.getInstance("SHA-256").digest(path.readBytes())
            val text = digest.joinToString("") { "%02x".format(it) }
            require(text == file.getString("sha256")) { "$path was altered" }
        }
    }
}
