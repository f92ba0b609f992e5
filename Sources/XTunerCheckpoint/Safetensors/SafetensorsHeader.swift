import XTunerModels
import XTunerText

/// The parsed and checked header of a safetensors file.
///
/// A file is 8 bytes of header length (little endian), the header as JSON, then the tensors without
/// gaps or overlaps.
struct SafetensorsHeader: Sendable {
  /// A tensor and its place in the file, counted from the file's start.
  struct Placement: Sendable, Hashable {
    var entry: SafetensorsEntry
    var byteRange: Range<Int>
  }

  /// Longest accepted header, in bytes, as in the reference implementation.
  static let maximumByteCount = 100_000_000
  static let metadataKey = "__metadata__"

  /// Tensors in the order of their data.
  var placements: [Placement] = []
  /// Free text pairs of the file.
  var metadata: [ExactText: String] = [:]
  /// Where the tensors start, in bytes from the file's start.
  var dataOffset: Int

  init(parsing bytes: UnsafeRawBufferPointer, path: String) throws(CheckpointError) {
    let damaged = { (reason: String) in CheckpointError(.damaged, path: path, reason) }
    guard bytes.count >= 8 else {
      throw damaged("is \(bytes.count) bytes long; a safetensors file has at least 10")
    }
    let announced = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard announced <= UInt64(Self.maximumByteCount) else {
      throw damaged(
        "announces a header of \(announced) bytes, above the limit of \(Self.maximumByteCount); "
          + "it is not a safetensors file")
    }
    let length = Int(announced)
    guard length <= bytes.count - 8 else {
      throw damaged(
        "is truncated: its header takes \(length) bytes, the file has \(bytes.count - 8) after "
          + "the length")
    }
    dataOffset = 8 + length
    let text = bytes[8..<dataOffset]
    guard text.first == UInt8(ascii: "{") else {
      throw damaged("has a header that does not start with '{'; it is not a safetensors file")
    }
    let document: JSONDocument
    do {
      document = try JSONDocument(parsing: text)
    } catch {
      throw damaged("has a header that is not valid JSON: \(error)")
    }
    guard let object = document.object else { throw damaged("has a header that is no JSON object") }
    try read(object, path: path)
    try checkPlacement(dataByteCount: bytes.count - dataOffset, path: path)
  }

  private mutating func read(_ object: JSONObject, path: String) throws(CheckpointError) {
    for name in object.keys {
      guard let value = object[name] else { continue }
      if name.isExactly(Self.metadataKey) {
        metadata = try Self.metadata(value, path: path)
      } else {
        placements.append(try placement(name, value, path: path))
      }
    }
  }

  private static func metadata(
    _ value: JSONDocument, path: String
  ) throws(CheckpointError) -> [ExactText: String] {
    var metadata: [ExactText: String] = [:]
    for key in value.object?.keys ?? [] { metadata[key] = value.object?[key]?.string }
    guard let object = value.object, metadata.count == object.count else {
      throw CheckpointError(.damaged, path: path, "\(metadataKey) must map strings to strings")
    }
    return metadata
  }

  private func placement(
    _ name: String, _ value: JSONDocument, path: String
  ) throws(CheckpointError) -> Placement {
    let damaged = { (reason: String) in
      CheckpointError(.damaged, path: path, "tensor \(name): \(reason)")
    }
    guard let object = value.object else { throw damaged("must be an object, is \(value.kind)") }
    for key in object.keys where !["dtype", "shape", "data_offsets"].containsExactly(key) {
      throw damaged("has an unknown member \(key)")
    }
    guard let typeName = object["dtype"]?.string else { throw damaged("has no dtype") }
    guard let dataType = SafetensorsDataType(rawValue: typeName) else {
      let known = SafetensorsDataType.allCases.map(\.rawValue).joined(separator: ", ")
      throw CheckpointError(
        .mismatch, path: path, "tensor \(name): dtype \(typeName) is unknown; known: \(known)")
    }
    guard let shape = Self.sizes(object["shape"]) else {
      throw damaged("shape must be a list of whole numbers from 0")
    }
    guard let offsets = Self.sizes(object["data_offsets"]), offsets.count == 2 else {
      throw damaged("data_offsets must be two whole numbers from 0")
    }
    let entry = SafetensorsEntry(name: name, dataType: dataType, shape: shape)
    guard let byteCount = entry.byteCount else {
      throw damaged("\(entry.kind) overflows or does not end on a whole byte")
    }
    guard offsets[0] <= offsets[1] else {
      throw damaged("data_offsets [\(offsets[0]), \(offsets[1])] end before they start")
    }
    guard offsets[1] - offsets[0] == byteCount else {
      throw damaged(
        "\(entry.kind) takes \(byteCount) bytes, data_offsets [\(offsets[0]), \(offsets[1])] hold "
          + "\(offsets[1] - offsets[0])")
    }
    // Offsets are checked against the file's size later; an overflow must not come first.
    guard offsets[1] <= Int.max - dataOffset else {
      throw damaged("data_offsets end at \(offsets[1]), which is no file offset")
    }
    return Placement(
      entry: entry, byteRange: dataOffset + offsets[0]..<dataOffset + offsets[1])
  }

  private static func sizes(_ value: JSONDocument?) -> [Int]? {
    guard let elements = value?.array else { return nil }
    let sizes = elements.compactMap(\.integer)
    return sizes.count == elements.count && sizes.allSatisfy { $0 >= 0 } ? sizes : nil
  }

  /// Sorts the tensors by their place, and refuses gaps, overlaps, truncation and a tail.
  private mutating func checkPlacement(
    dataByteCount: Int, path: String
  ) throws(CheckpointError) {
    let order = placements.indices.sorted {
      let (left, right) = (placements[$0].byteRange, placements[$1].byteRange)
      return (left.lowerBound, left.upperBound, $0) < (right.lowerBound, right.upperBound, $1)
    }
    placements = order.map { placements[$0] }
    var end = dataOffset
    for placement in placements {
      let start = placement.byteRange.lowerBound
      if start != end {
        throw CheckpointError(
          .damaged, path: path,
          "tensor \(placement.entry.name): starts at byte \(start - dataOffset) of the data, where "
            + "the tensor before it ends at \(end - dataOffset); there must be no "
            + (start > end ? "gap" : "overlap"))
      }
      end = placement.byteRange.upperBound
      if end - dataOffset > dataByteCount {
        throw CheckpointError(
          .damaged, path: path,
          "is truncated: tensor \(placement.entry.name) ends at byte \(end - dataOffset) of the "
            + "data, the file has \(dataByteCount)")
      }
    }
    if end - dataOffset != dataByteCount {
      throw CheckpointError(
        .damaged, path: path,
        "has \(dataByteCount - (end - dataOffset)) bytes after its last tensor")
    }
  }
}
