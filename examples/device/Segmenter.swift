// Reads an edgeseg Core ML artifact and segments an image on iOS 17 or macOS 14. Not compiled in edgeseg's tests.

import CoreImage
import CoreML
import CryptoKit
import Foundation

struct Manifest: Decodable {
    struct File: Decodable { let path: String, sha256: String }
    struct Tensor: Decodable { let name: String, shape: [Int], role: String, layout: String }
    struct Spec: Decodable { let classes: [String], palette: [[UInt8]] }
    struct Preprocess: Decodable { let resize: String }
    let name: String, format: String, entry: String, preprocess: Preprocess
    let files: [File], inputs: [Tensor], outputs: [Tensor], spec: Spec
}

enum SegmenterError: Error { case altered(String), unsupported(String) }

final class Segmenter {
    let manifest: Manifest
    private let model: MLModel

    init(folder: URL) throws {
        let decoder = JSONDecoder()
        manifest = try decoder.decode(Manifest.self, from: Data(contentsOf: folder.appendingPathComponent("manifest.json")))
        guard manifest.format == "coreml" else { throw SegmenterError.unsupported(manifest.format) }
        guard manifest.preprocess.resize == "stretch" else { throw SegmenterError.unsupported(manifest.preprocess.resize) }
        for file in manifest.files {
            let path = folder.appendingPathComponent(file.path).standardizedFileURL
            guard path.path.hasPrefix(folder.standardizedFileURL.path + "/") else { throw SegmenterError.altered(file.path) }
            let digest = SHA256.hash(data: try Data(contentsOf: path)).map { String(format: "%02x", $0) }.joined()
            guard digest == file.sha256 else { throw SegmenterError.altered(file.path) }
        }
        let compiled = try MLModel.compileModel(at: folder.appendingPathComponent(manifest.entry))
        model = try MLModel(contentsOf: compiled)
    }

    /// Class ids at the size of the artifact's output, row by row. `image` has any size; the model normalises it.
    func segment(_ image: CGImage) throws -> [UInt8] {
        let input = manifest.inputs[0], output = manifest.outputs[0]
        let height = input.shape[2], width = input.shape[3]
        let feature = try MLFeatureValue(
            cgImage: image, pixelsWide: width, pixelsHigh: height, pixelFormatType: kCVPixelFormatType_32BGRA, options: nil)
        let provider = try MLDictionaryFeatureProvider(dictionary: [input.name: feature])
        guard let values = try model.prediction(from: provider).featureValue(for: output.name)?.multiArrayValue else {
            throw SegmenterError.unsupported(output.name)
        }
        if output.role == "labels" { return (0..<values.count).map { UInt8(truncating: values[$0]) } }
        let classes = manifest.spec.classes.count, cells = values.count / classes
        let planes = output.layout == "NCHW"
        return (0..<cells).map { cell in
            let best = (0..<classes).max { first, second in
                let one = planes ? first * cells + cell : cell * classes + first
                let other = planes ? second * cells + cell : cell * classes + second
                return values[one].floatValue < values[other].floatValue
            }
            return UInt8(best ?? 0)
        }
    }
}
