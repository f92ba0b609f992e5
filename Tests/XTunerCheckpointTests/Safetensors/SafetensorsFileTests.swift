import Testing
import XTunerText

@testable import XTunerCheckpoint

@Suite struct SafetensorsFileTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// A file from the text of its header and the size of its data.
  private func file(header: String, dataByteCount: Int) throws -> String {
    var bytes: [UInt8] = []
    withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { bytes += $0 }
    bytes += Array(header.utf8)
    bytes += (0..<dataByteCount).map { UInt8(truncatingIfNeeded: $0) }
    return try folder.write(bytes, to: "model.safetensors")
  }

  private static let good =
    #"{"b":{"dtype":"F32","shape":[2,1],"data_offsets":[6,14]},"#
    + #""__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"#
    + #""empty":{"dtype":"I64","shape":[5,0],"data_offsets":[14,14]},"#
    + #""scalar":{"dtype":"U8","shape":[],"data_offsets":[14,15]}}   "#

  @Test func readsTensorsInTheOrderOfTheirData() throws {
    let path = try file(header: Self.good, dataByteCount: 15)
    let file = try SafetensorsFile(path: path)
    #expect(file.names == ["a", "b", "empty", "scalar"])
    #expect(file.metadata == ["format": "pt"])
    let (dataType, shape, range) = try file.entry("b")
    let start = 8 + Self.good.utf8.count
    #expect(dataType == .float32 && shape == [2, 1] && range == start + 6..<start + 14)
    #expect(try file.withBytes(of: "b") { Array($0) } == Array(6..<14))
    #expect(try file.withBytes(of: "scalar") { Array($0) } == [14])
    #expect(try file.withBytes(of: "empty") { $0.count } == 0)
    #expect(try file.isAligned("b") == range.lowerBound.isMultiple(of: 4))
    try file.prefetch("a")
  }

  @Test func canonicallyEquivalentNamesAreDifferentTensors() throws {
    let header =
      "{\"\u{E9}\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
      + "\"e\u{301}\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]}}"
    let file = try SafetensorsFile(path: try file(header: header, dataByteCount: 5))
    #expect(try file.withBytes(of: "\u{E9}") { Array($0) } == [0, 1])
    #expect(try file.withBytes(of: "e\u{301}") { Array($0) } == [2, 3, 4])
  }

  @Test func namesAnAbsentTensor() throws {
    let file = try SafetensorsFile(path: try file(header: Self.good, dataByteCount: 15))
    let error = #expect(throws: CheckpointError.self) { try file.bytes(of: "c") }
    #expect(error?.code == .missing && error?.reason == "has no tensor c")
  }

  @Test func everyTruncationAndExtensionIsAnError() throws {
    let whole = try folder.read(
      String(try file(header: Self.good, dataByteCount: 15).split(separator: "/").last ?? ""))
    for count in 0..<whole.count {
      let path = try folder.write(whole[..<count], to: "part.safetensors")
      let error = #expect(throws: CheckpointError.self) { try SafetensorsFile(path: path) }
      #expect(error?.path == path && error?.code == .damaged, "\(count) bytes")
    }
    let path = try folder.write(whole + [0], to: "long.safetensors")
    let error = #expect(throws: CheckpointError.self) { try SafetensorsFile(path: path) }
    #expect(error?.reason == "has 1 bytes after its last tensor")
  }

  @Test func noSingleChangedByteStopsTheProcess() throws {
    _ = try file(header: Self.good, dataByteCount: 15)
    let whole = try folder.read("model.safetensors")
    for index in 0..<8 + Self.good.utf8.count {
      for value: UInt8 in [0, 0x30, 0x39, 0xFF] {
        var bytes = whole
        bytes[index] = value
        bytes.withUnsafeBytes { bytes in
          guard let header = try? SafetensorsHeader(parsing: bytes, path: "x") else { return }
          for placement in header.placements {
            #expect(placement.byteRange.upperBound <= bytes.count)
            #expect(placement.entry.byteCount == placement.byteRange.count)
          }
        }
      }
    }
  }

  struct BadHeader: Sendable, CustomTestStringConvertible {
    var header: String
    var message: String
    var testDescription: String { message }
  }

  static let badHeaders = [
    BadHeader(header: "[]", message: "does not start with '{'"),
    BadHeader(header: " {}", message: "does not start with '{'"),
    BadHeader(header: "{} x", message: "not valid JSON"),
    BadHeader(header: #"{"a":1}"#, message: "tensor a: must be an object, is a number"),
    BadHeader(
      header: #"{"a":{"shape":[3],"data_offsets":[0,6]}}"#, message: "tensor a: has no dtype"),
    BadHeader(
      header: #"{"a":{"dtype":"F33","shape":[3],"data_offsets":[0,6]}}"#,
      message: "dtype F33 is unknown; known: BOOL"),
    BadHeader(
      header: #"{"a":{"dtype":"BF16","data_offsets":[0,6]}}"#, message: "tensor a: shape must be"),
    BadHeader(
      header: #"{"a":{"dtype":"BF16","shape":[-3],"data_offsets":[0,6]}}"#,
      message: "tensor a: shape must be"),
    BadHeader(
      header: #"{"a":{"dtype":"BF16","shape":[1.5],"data_offsets":[0,6]}}"#,
      message: "tensor a: shape must be"),
    BadHeader(
      header: #"{"a":{"dtype":"BF16","shape":[3],"data_offsets":[0]}}"#,
      message: "tensor a: data_offsets must be"),
    BadHeader(
      header: #"{"a":{"dtype":"BF16","shape":[3],"data_offsets":[6,0]}}"#,
      message: "end before they start"),
    BadHeader(
      header: #"{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,6]}}"#,
      message: "BF16 [2] takes 4 bytes, data_offsets [0, 6] hold 6"),
    BadHeader(
      header: #"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#,
      message: "F4 [3] overflows or does not end on a whole byte"),
    BadHeader(
      header:
        #"{"a":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,6]}}"#,
      message: "overflows"),
    BadHeader(
      header:
        #"{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}"#,
      message: "overflows"),
    BadHeader(
      header:
        #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]}}"#,
      message: "which is no file offset"),
    BadHeader(
      header: #"{"a":{"dtype":"U8","shape":[6],"data_offsets":[1,7]}}"#, message: "no gap"),
    BadHeader(
      header: #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"#
        + #""b":{"dtype":"U8","shape":[3],"data_offsets":[3,6]}}"#, message: "no overlap"),
    BadHeader(
      header: #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"#
        + #""a":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}"#, message: "\"a\" is repeated"),
    BadHeader(
      header: #"{"a":{"dtype":"U8","shape":[7],"data_offsets":[0,7]}}"#, message: "is truncated"),
    BadHeader(
      header: #"{"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]}}"#,
      message: "has 1 bytes after its last tensor"),
    BadHeader(
      header: #"{"__metadata__":{"x":1}}"#, message: "__metadata__ must map strings to strings"),
    BadHeader(
      header: #"{"a":{"dtype":"U8","shape":[6],"data_offsets":[0,6],"strides":[1]}}"#,
      message: "unknown member strides"),
  ]

  @Test(arguments: badHeaders)
  func refuses(example: BadHeader) throws {
    let path = try file(header: example.header, dataByteCount: 6)
    let error = #expect(throws: CheckpointError.self) { try SafetensorsFile(path: path) }
    #expect(error?.description.hasPrefix("\(path): ") == true)
    #expect(error?.reason.contains(example.message) == true, "\(error?.reason ?? "")")
  }

  @Test func refusesWhatIsNoFile() throws {
    #expect(throws: CheckpointError.self) { try SafetensorsFile(path: folder.path) }
    #expect(throws: CheckpointError.self) { try SafetensorsFile(path: "/dev/zero") }
    let error = #expect(throws: CheckpointError.self) {
      try SafetensorsFile(path: folder.file("absent"))
    }
    #expect(error?.code == .missing)
    let huge = try folder.write([UInt8](repeating: 0xFF, count: 64), to: "huge")
    let announced = #expect(throws: CheckpointError.self) { try SafetensorsFile(path: huge) }
    #expect(announced?.reason.contains("it is not a safetensors file") == true)
  }
}
