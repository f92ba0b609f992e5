import Foundation
import Testing

@testable import XTunerRun

@Suite struct TensorBoardWriterTests {
  @Test func checksumsAreThoseOfTheStandard() {
    #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xE306_9283)
    #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
    #expect(CRC32C.checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    #expect(CRC32C.checksum([]) == 0)
  }

  @Test func eventsHaveKnownBytes() {
    #expect(
      TensorBoardEvent.fileVersion(time: 1) == [0x09, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0x1A, 13]
        + Array("brain.Event:2".utf8))
    #expect(
      TensorBoardEvent.scalars([("ab", 0.5)], time: 2, step: 300) == [
        0x09, 0, 0, 0, 0, 0, 0, 0, 0x40,  // wall_time = 2
        0x10, 0xAC, 0x02,  // step = 300
        0x2A, 11, 0x0A, 9,  // summary with one value
        0x0A, 2, 0x61, 0x62,  // tag = "ab"
        0x15, 0, 0, 0, 0x3F,  // simple_value = 0.5
      ])
    #expect(TensorBoardEvent.sessionStart(time: 0, step: 5).suffix(4) == [0x3A, 2, 0x08, 1])
  }

  /// A scalar as read back from a file.
  struct Scalar: Equatable {
    let step: Int
    let tag: String
    let value: Float
  }

  /// Reads a file with its own few lines of protobuf, checking every checksum.
  private func read(_ path: String) throws -> [Scalar] {
    var data = ArraySlice([UInt8](try Data(contentsOf: URL(filePath: path))))
    var scalars: [Scalar] = []
    func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
      bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    while !data.isEmpty {
      let length = data.prefix(8)
      #expect(UInt64(CRC32C.masked(length)) == number(data.dropFirst(8).prefix(4)))
      let body = data.dropFirst(12).prefix(Int(number(length)))
      data = data.dropFirst(12 + body.count)
      #expect(UInt64(CRC32C.masked(body)) == number(data.prefix(4)))
      data = data.dropFirst(4)
      var step = 0
      for (field, content) in fields(body) {
        if field == 2 { step = Int(number(content)) }
        guard field == 5 else { continue }
        for (_, value) in fields(content) {
          let parts = fields(value)
          scalars.append(
            .init(
              step: step, tag: String(decoding: parts[0].1, as: UTF8.self),
              value: Float(bitPattern: UInt32(number(parts[1].1)))))
        }
      }
    }
    return scalars
  }

  /// Fields of a message; a varint comes back as its value in eight bytes.
  private func fields(_ message: ArraySlice<UInt8>) -> [(Int, ArraySlice<UInt8>)] {
    var rest = message
    var result: [(Int, ArraySlice<UInt8>)] = []
    func varint() -> UInt64 {
      var value: UInt64 = 0
      var shift: UInt64 = 0
      while let byte = rest.popFirst() {
        value |= UInt64(byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 { break }
      }
      return value
    }
    while !rest.isEmpty {
      let key = varint()
      let count: Int
      switch key & 7 {
      case 0:
        let value = varint()
        result.append((Int(key >> 3), withUnsafeBytes(of: value) { ArraySlice($0) }))
        continue
      case 1: count = 8
      case 5: count = 4
      default: count = Int(varint())
      }
      result.append((Int(key >> 3), rest.prefix(count)))
      rest = rest.dropFirst(count)
    }
    return result
  }

  @Test func writesScalarsThatReadBack() throws {
    let folder = try TemporaryFolder()
    let writer = try TensorBoardWriter(folder: "\(folder.path)/tensorboard")
    var metrics = step(70_001)
    metrics.maxViolation = 0.25
    try writer.write(metrics)
    try writer.write(EvaluationMetrics(step: 70_001, loss: 1.5, lossTokens: 3, seconds: 1))
    let scalars = try read(writer.path)
    #expect(scalars.contains(.init(step: 70_001, tag: "train/loss", value: 2.5)))
    #expect(scalars.contains(.init(step: 70_001, tag: "moe/max_violation", value: 0.25)))
    #expect(scalars.last == .init(step: 70_001, tag: "evaluation/loss", value: 1.5))
    #expect(scalars.count == 10)
  }
}
