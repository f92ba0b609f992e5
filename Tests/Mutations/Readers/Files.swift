import Foundation

/// An answer that counts as a refusal although nothing was thrown.
struct Refusal: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

func makeFolder(_ path: String) throws {
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
}

func readFile(_ path: String) throws -> [UInt8] {
  Array(try Data(contentsOf: URL(fileURLWithPath: path)))
}

func writeFile(_ bytes: [UInt8], to path: String) throws {
  try Data(bytes).write(to: URL(fileURLWithPath: path))
}

/// Writes a tokenizer with an id a byte and nothing else; returns its path.
func byteTokenizer(in folder: String) throws -> String {
  var vocabulary: [String: Int] = [:]
  var next: UInt32 = 256
  for byte in UInt32(0)...255 {
    let isPrintable =
      (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte)
    let scalar = isPrintable ? byte : next
    next += isPrintable ? 0 : 1
    vocabulary[String(Unicode.Scalar(scalar) ?? " ")] = Int(byte)
  }
  let byteLevel: [String: Any] = [
    "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
  ]
  let document: [String: Any] = [
    "version": "1.0", "added_tokens": [Any](), "pre_tokenizer": byteLevel, "decoder": byteLevel,
    "model": ["type": "BPE", "vocab": vocabulary, "merges": [String]()] as [String: Any],
  ]
  let path = "\(folder)/tokenizer.json"
  try JSONSerialization.data(withJSONObject: document).write(to: URL(fileURLWithPath: path))
  return path
}
