// Checks an edgeseg artifact without edgeseg: standard library only, C++17, one file.
//
//   g++ -std=c++17 -O2 artifact_check.cpp -o artifact_check
//   ./artifact_check ARTIFACT                          manifest and every file by size and SHA-256
//   ./artifact_check ARTIFACT 1 OUTPUT.npy             also an engine's raw output for golden sample 1, 2, ...
//
// Exit status: 0 everything holds, 1 something does not, 2 wrong usage. docs/artifact-format.md describes the format.

#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;

[[noreturn]] static void fail(const std::string& text) { throw std::runtime_error(text); }

static Bytes read_file(const fs::path& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream || fs::is_directory(path)) fail(path.string() + ": cannot be read");
    return Bytes(std::istreambuf_iterator<char>(stream), {});
}

// --- SHA-256 (FIPS 180-4) -------------------------------------------------------------------------------------------

static uint32_t rotate(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static std::string sha256(const Bytes& data) {
    // The constants are the first 32 bits of the fractional parts of cube and square roots of the first primes.
    std::array<uint32_t, 64> k{};
    std::array<uint32_t, 8> state{};
    int found = 0;
    for (uint32_t n = 2; found < 64; ++n) {
        bool prime = true;
        for (uint32_t d = 2; d * d <= n; ++d) prime = prime && n % d != 0;
        if (!prime) continue;
        long double cube = cbrtl(n), square = sqrtl(n);
        k[found] = static_cast<uint32_t>((cube - floorl(cube)) * 4294967296.0L);
        if (found < 8) state[found] = static_cast<uint32_t>((square - floorl(square)) * 4294967296.0L);
        ++found;
    }
    Bytes padded(data);
    padded.push_back(0x80);
    while (padded.size() % 64 != 56) padded.push_back(0);
    uint64_t bits = static_cast<uint64_t>(data.size()) * 8;
    for (int shift = 56; shift >= 0; shift -= 8) padded.push_back(static_cast<uint8_t>(bits >> shift));
    for (size_t start = 0; start < padded.size(); start += 64) {
        std::array<uint32_t, 64> w{};
        for (int i = 0; i < 16; ++i)
            for (int b = 0; b < 4; ++b) w[i] = (w[i] << 8) | padded[start + 4 * i + b];
        for (int i = 16; i < 64; ++i) {
            uint32_t low = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3);
            uint32_t high = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16] + low + w[i - 7] + high;
        }
        std::array<uint32_t, 8> v = state;
        for (int i = 0; i < 64; ++i) {
            uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
            uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
            uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
            uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
            v = {t1 + t2, v[0], v[1], v[2], v[3] + t1, v[4], v[5], v[6]};
        }
        for (int i = 0; i < 8; ++i) state[i] += v[i];
    }
    std::string text;
    for (uint32_t word : state)
        for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[(word >> shift) & 15];
    return text;
}

// --- JSON -----------------------------------------------------------------------------------------------------------

struct Json {
    enum Kind { Null, Literal, Number, Text, List, Table } kind = Null;
    std::string text;  // of a literal or number as it is written, of a string decoded
    std::vector<Json> items;
    std::map<std::string, Json> members;

    const Json& at(const std::string& key) const {
        auto found = members.find(key);
        if (kind != Table || found == members.end()) fail("manifest.json: \"" + key + "\" is missing");
        return found->second;
    }
    bool has(const std::string& key) const {
        auto found = members.find(key);
        return found != members.end() && found->second.kind != Null;
    }
    double number() const {
        if (kind != Number) fail("manifest.json: a number is needed, not " + text);
        return std::strtod(text.c_str(), nullptr);
    }
};

static bool is_one_of(char c, const char* some) { return c != '\0' && std::strchr(some, c); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Whether a text is a number as JSON writes it: -12.5e+3, but neither 012 nor .5 nor inf.
static bool is_number(const std::string& text) {
    size_t at = !text.empty() && text[0] == '-';
    auto digits = [&] {
        size_t start = at;
        while (at < text.size() && is_digit(text[at])) ++at;
        return at - start;
    };
    bool zero = at < text.size() && text[at] == '0';
    size_t whole = digits();
    if (whole == 0 || (zero && whole > 1)) return false;
    if (at < text.size() && text[at] == '.' && (++at, digits() == 0)) return false;
    if (at < text.size() && is_one_of(text[at], "eE")) {
        ++at;
        if (at < text.size() && is_one_of(text[at], "+-")) ++at;
        if (digits() == 0) return false;
    }
    return at == text.size();
}

class Parser {
  public:
    explicit Parser(const Bytes& data) : data_(data.begin(), data.end()) {}
    Json document() {
        Json value = parse(0);
        skip();
        if (at_ != data_.size()) fail("manifest.json: text after its end");
        return value;
    }

  private:
    Json parse(int depth) {
        if (depth > 64) fail("manifest.json: nested too deeply");
        skip();
        Json value;
        char c = peek();
        if (c == '{') {
            value.kind = Json::Table;
            ++at_;
            for (bool first = true; !ends('}', first); first = false) {
                skip();
                std::string key = string();
                skip();
                expect(':');
                if (!value.members.emplace(key, parse(depth + 1)).second) fail("manifest.json: " + key + " twice");
            }
        } else if (c == '[') {
            value.kind = Json::List;
            ++at_;
            for (bool first = true; !ends(']', first); first = false) value.items.push_back(parse(depth + 1));
        } else if (c == '"') {
            value.kind = Json::Text;
            value.text = string();
        } else {
            auto goes_on = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || is_one_of(c, "+-."); };
            while (at_ < data_.size() && goes_on(data_[at_])) value.text += data_[at_++];
            value.kind = value.text == "null" ? Json::Null
                         : value.text == "true" || value.text == "false" ? Json::Literal : Json::Number;
            if (value.kind == Json::Number && !is_number(value.text)) fail("manifest.json: is not JSON at " + place());
        }
        return value;
    }
    bool ends(char close, bool first) {
        skip();
        if (peek() == close) return ++at_, true;
        if (!first) expect(',');
        return false;
    }
    std::string string() {
        expect('"');
        std::string text;
        while (peek() != '"') {
            char c = data_[at_++];
            if (static_cast<unsigned char>(c) < 0x20) fail("manifest.json: a control character at " + place());
            if (c != '\\') {
                text += c;
                continue;
            }
            c = peek();
            ++at_;
            if (c == 'u') {
                uint32_t code = hex();
                bool high = code >= 0xD800 && code < 0xDC00;
                if (high) {
                    expect('\\');
                    expect('u');
                    uint32_t low = hex();
                    if (low < 0xDC00 || low > 0xDFFF) fail("manifest.json: half a surrogate pair at " + place());
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                } else if (code >= 0xDC00 && code <= 0xDFFF) fail("manifest.json: half a surrogate pair at " + place());
                utf8(text, code);
            } else {
                static const std::map<char, char> plain = {{'"', '"'}, {'\\', '\\'}, {'/', '/'}, {'b', '\b'},
                                                           {'f', '\f'}, {'n', '\n'}, {'r', '\r'}, {'t', '\t'}};
                auto found = plain.find(c);
                if (found == plain.end()) fail("manifest.json: bad escape at " + place());
                text += found->second;
            }
        }
        ++at_;
        return text;
    }
    uint32_t hex() {
        uint32_t code = 0;
        for (int digit = 0; digit < 4; ++digit) {
            static const std::string digits = "0123456789abcdef";
            size_t value = digits.find(static_cast<char>(std::tolower(static_cast<unsigned char>(peek()))));
            if (value == std::string::npos) fail("manifest.json: bad escape at " + place());
            code = code * 16 + static_cast<uint32_t>(value);
            ++at_;
        }
        return code;
    }
    static void utf8(std::string& text, uint32_t code) {
        if (code < 0x80) text += static_cast<char>(code);
        else if (code < 0x800) text += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
        else if (code < 0x10000)
            text += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
                     static_cast<char>(0x80 | (code & 63))};
        else
            text += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 63)),
                     static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
    }
    void skip() {
        while (at_ < data_.size() && is_one_of(data_[at_], " \t\r\n")) ++at_;
    }
    char peek() const {
        if (at_ >= data_.size()) fail("manifest.json: cut off");
        return data_[at_];
    }
    void expect(char c) {
        if (peek() != c) fail(std::string("manifest.json: expected ") + c + " at " + place());
        ++at_;
    }
    std::string place() const { return "byte " + std::to_string(at_ + 1); }
    std::string data_;
    size_t at_ = 0;
};

// The text that is hashed: keys sorted, ", " and ": " between, characters beyond ASCII as they are.
static void canonical(const Json& value, std::string& out) {
    auto quoted = [&out](const std::string& text) {
        static const std::map<char, const char*> escapes = {{'"', "\\\""}, {'\\', "\\\\"}, {'\n', "\\n"},
                                                            {'\r', "\\r"}, {'\t', "\\t"}, {'\b', "\\b"}, {'\f', "\\f"}};
        out += '"';
        for (char c : text) {
            auto found = escapes.find(c);
            if (found != escapes.end()) out += found->second;
            else if (static_cast<unsigned char>(c) < 0x20) {
                const char* digits = "0123456789abcdef";
                out += std::string("\\u00") + digits[c >> 4] + digits[c & 15];
            } else out += c;
        }
        out += '"';
    };
    bool first = true;
    switch (value.kind) {
        case Json::Table:
            out += '{';
            for (const auto& [key, item] : value.members) {
                if (!first) out += ", ";
                first = false;
                quoted(key);
                out += ": ";
                canonical(item, out);
            }
            out += '}';
            break;
        case Json::List:
            out += '[';
            for (const Json& item : value.items) {
                if (!first) out += ", ";
                first = false;
                canonical(item, out);
            }
            out += ']';
            break;
        case Json::Text: quoted(value.text); break;
        default: out += value.text;
    }
}

static void check_digest(Json manifest) {
    std::string said = manifest.at("self_sha256").text;
    const std::string schema = manifest.at("schema").text;
    if (schema != "2" && schema != "3") fail("manifest.json: schema " + schema + " is not 2 or 3");
    manifest.members["self_sha256"].text = "";
    if (schema == "3") {
        manifest.members.erase("created");
        manifest.members.erase("choice");
        manifest.at("report");
        manifest.members["report"].members.erase("seconds");
        manifest.members["report"].members.erase("peak_memory_mb");
    }
    std::string text;
    canonical(manifest, text);
    if (sha256(Bytes(text.begin(), text.end())) != said) fail("manifest.json: was altered (checksum mismatch)");
}

// --- Files ----------------------------------------------------------------------------------------------------------

// A receipt, or one that is being written.
static bool is_receipt(const fs::path& relative) {
    std::string name = relative.filename().string();
    return relative.parent_path() == "receipts" &&
           (relative.extension() == ".json" || (name[0] == '.' && relative.extension() == ".partial"));
}

// What the manifest names has to be covered by its checksums; the entry may be a folder of listed files.
static void check_listed(const std::string& what, const std::string& name, const std::set<std::string>& listed) {
    if (name.empty()) fail("manifest.json: " + what + " is empty");
    auto after = listed.lower_bound(name + "/");
    bool folder = what == "entry" && after != listed.end() && after->rfind(name + "/", 0) == 0;
    if (!folder && !listed.count(name)) fail("manifest.json: " + what + " " + name + " is not in its list of files");
}

static void check_files(const fs::path& folder, const Json& manifest) {
    std::set<std::string> listed;
    for (const Json& file : manifest.at("files").items) {
        const std::string& name = file.at("path").text;
        fs::path relative(name);
        if (name.empty() || relative.is_absolute() || name.find_first_of("\\:") != std::string::npos)
            fail(name + ": is not a path inside the folder");
        fs::path path = folder;
        for (const fs::path& part : relative) {
            if (part == ".." || part == "." || part.empty()) fail(name + ": is not a path inside the folder");
            path /= part;
            if (fs::is_symlink(path)) fail(name + ": is a link");
        }
        if (!fs::is_regular_file(path)) fail(name + ": is missing");
        if (std::to_string(fs::file_size(path)) != file.at("size_bytes").text)
            fail(name + ": has another size than the manifest says");
        if (sha256(read_file(path)) != file.at("sha256").text) fail(name + ": was altered (checksum mismatch)");
        if (!listed.insert(name).second) fail(name + ": is listed twice");
    }
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        // By its own name: fs::relative would follow a link to a file that is listed.
        fs::path relative = entry.path().lexically_relative(folder);
        std::string name = relative.generic_string();
        if (entry.is_symlink()) fail(name + ": is a link");
        if (entry.is_directory()) continue;
        if (!entry.is_regular_file()) fail(name + ": is a special file");
        if (name == "manifest.json" || name == ".edgeseg" || listed.count(name) || is_receipt(relative)) continue;
        fail(name + ": is not listed in the manifest");
    }
    check_listed("entry", manifest.at("entry").text, listed);
    const Json& golden = manifest.at("golden");
    std::vector<Json> samples = golden.has("more") ? golden.at("more").items : std::vector<Json>();
    samples.push_back(golden);
    for (const Json& sample : samples)
        for (const char* what : {"image", "expected", "reference", "output"})  // early files lack some of them
            if (sample.has(what) && !(what == std::string("output") && sample.at(what).text.empty()))
                check_listed(what, sample.at(what).text, listed);
}

// --- Outputs --------------------------------------------------------------------------------------------------------

struct Tensor {
    std::vector<size_t> shape;
    std::vector<double> values;
};

template <typename T> static void unpack(const uint8_t* data, size_t count, std::vector<double>& values) {
    for (size_t i = 0; i < count; ++i) {
        T value;
        std::memcpy(&value, data + i * sizeof(T), sizeof(T));
        values.push_back(static_cast<double>(value));
    }
}

static Tensor read_npy(const fs::path& path) {
    Bytes data = read_file(path);
    auto broken = [&path]() { fail(path.string() + ": is not a .npy file of a supported type"); };
    if (data.size() < 10 || std::memcmp(data.data(), "\x93NUMPY", 6) != 0) broken();
    size_t wide = data[6] >= 2 ? 4 : 2, length = 0;
    if (data.size() < 8 + wide) broken();
    for (size_t i = 0; i < wide; ++i) length |= static_cast<size_t>(data[8 + i]) << (8 * i);
    size_t start = 8 + wide + length;
    if (length > data.size() || start > data.size()) broken();
    std::string header(data.begin() + 8 + static_cast<long>(wide), data.begin() + static_cast<long>(start));
    if (header.find("'fortran_order': True") != std::string::npos) fail(path.string() + ": is in Fortran order, not C");
    size_t open = header.find('('), close = header.find(')', open);
    if (open == std::string::npos || close == std::string::npos) broken();
    Tensor tensor;
    std::stringstream sides(header.substr(open + 1, close - open - 1));
    size_t count = 1;
    for (std::string side; std::getline(sides, side, ',');) {
        if (side.find_first_of("0123456789") == std::string::npos) continue;
        tensor.shape.push_back(std::strtoull(side.c_str(), nullptr, 10));
        if (tensor.shape.back() == 0 || tensor.shape.back() > data.size() / count) broken();
        count *= tensor.shape.back();
    }
    auto is = [&header](const char* type) { return header.find(type) != std::string::npos; };
    if (is("'>")) fail(path.string() + ": is big-endian, not little-endian");
    size_t size = is("f4'") || is("i4'") ? 4 : is("i8'") || is("f8'") ? 8 : is("u1'") || is("i1'") ? 1 : 0;
    if (size == 0 || data.size() - start != count * size) broken();
    const uint8_t* body = data.data() + start;
    if (is("f4'")) unpack<float>(body, count, tensor.values);
    else if (is("f8'")) unpack<double>(body, count, tensor.values);
    else if (is("i4'")) unpack<int32_t>(body, count, tensor.values);
    else if (is("i8'")) unpack<int64_t>(body, count, tensor.values);
    else if (is("i1'")) unpack<int8_t>(body, count, tensor.values);
    else unpack<uint8_t>(body, count, tensor.values);
    return tensor;
}

static std::vector<int> labels(const Tensor& tensor, const Json& spec) {
    std::vector<int> found;
    if (spec.at("role").text == "labels") {
        for (double value : tensor.values) found.push_back(static_cast<int>(value));
        return found;
    }
    bool planes = spec.at("layout").text == "NCHW";
    size_t classes = tensor.shape[planes ? 1 : 3], cells = tensor.values.size() / classes;
    for (size_t cell = 0; cell < cells; ++cell) {
        int best = 0;
        for (size_t c = 1; c < classes; ++c) {
            auto value = [&](size_t index) { return tensor.values[planes ? index * cells + cell : cell * classes + index]; };
            if (value(c) > value(static_cast<size_t>(best))) best = static_cast<int>(c);
        }
        found.push_back(best);
    }
    return found;
}

static void check_output(const fs::path& folder, const Json& manifest, size_t index, const fs::path& path) {
    const Json &golden = manifest.at("golden"), &spec = manifest.at("outputs").items.at(0);
    const std::vector<Json>& more = golden.at("more").items;
    if (index < 1 || index > more.size() + 1) fail("there are " + std::to_string(more.size() + 1) + " golden samples");
    const Json& sample = index == 1 ? golden : more[index - 2];
    if (sample.at("output").text.empty()) fail("this sample has no output: nothing ran the artifact when it was made");
    Tensor wanted = read_npy(folder / sample.at("output").text), given = read_npy(path);
    const std::vector<Json>& shape = spec.at("shape").items;
    bool same = wanted.shape.size() == shape.size() && shape.size() == spec.at("layout").text.size();
    for (size_t i = 0; same && i < shape.size(); ++i) same = std::to_string(wanted.shape[i]) == shape[i].text;
    if (!same)
        fail(sample.at("output").text + ": has another shape than the manifest says");
    if (given.shape != wanted.shape) fail(path.string() + ": has another shape than the golden output");
    double mean = 0, power = 0, error = 0;
    for (double value : wanted.values) mean += value / static_cast<double>(wanted.values.size());
    for (size_t i = 0; i < wanted.values.size(); ++i) {
        if (!std::isfinite(given.values[i])) fail(path.string() + ": holds NaN or infinity");
        power += (wanted.values[i] - mean) * (wanted.values[i] - mean);
        error += (given.values[i] - wanted.values[i]) * (given.values[i] - wanted.values[i]);
    }
    std::vector<int> mine = labels(given, spec), theirs = labels(wanted, spec);
    size_t equal = 0;
    for (size_t i = 0; i < mine.size(); ++i) equal += mine[i] == theirs[i];
    double share = static_cast<double>(equal) / static_cast<double>(mine.size());
    std::cout << "sample " << index << ": " << 100 * share << " % of the labels";
    if (golden.has("min_sqnr_db")) {
        double db = error == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(power / error);
        std::cout << ", " << db << " dB\n";
        if (!(db >= golden.at("min_sqnr_db").number())) fail("the logits differ by more than the tolerance");
    } else std::cout << "\n";
    if (!(share >= golden.at("min_agreement").number())) fail("too few labels agree with the golden ones");
}

int main(int count, char** words) {
    bool numbered = true;
    for (int i = 2; i < count; i += 2)
        numbered = numbered && *words[i] && std::strspn(words[i], "0123456789") == std::strlen(words[i]);
    if ((count != 2 && (count < 4 || count % 2 != 0)) || !numbered) {
        std::cerr << "usage: artifact_check ARTIFACT [SAMPLE OUTPUT.npy]...\n";
        return 2;
    }
    try {
        fs::path folder(words[1]);
        Json manifest = Parser(read_file(folder / "manifest.json")).document();
        check_digest(manifest);
        check_files(folder, manifest);
        for (int i = 2; i + 1 < count; i += 2)
            check_output(folder, manifest, std::strtoul(words[i], nullptr, 10), words[i + 1]);
        std::cout << manifest.at("name").text << ": intact, " << manifest.at("self_sha256").text << "\n";
        return 0;
    } catch (const std::exception& error) {
        std::cerr << words[1] << ": " << error.what() << "\n";
        return 1;
    }
}
