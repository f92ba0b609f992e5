import Foundation
import Testing
import XTunerData
import XTunerTokenizers

struct RecordReaderTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func texts(
    _ paths: String..., unit: TextUnit = .file, onError: ErrorPolicy = .stop
  ) throws -> [String] {
    let reader = try RecordReader(
      source: RecordSource(paths: paths, textUnit: unit), onError: onError)
    var texts: [String] = []
    while let record = try reader.next() {
      guard case .text(let text) = record.content else { continue }
      texts.append(text)
    }
    return texts
  }

  private func failure(
    _ paths: String..., format: DataFormat = .auto, onError: ErrorPolicy = .stop
  ) -> DataReadError? {
    #expect(throws: DataReadError.self) {
      let reader = try RecordReader(
        source: RecordSource(paths: paths, format: format), onError: onError)
      while try reader.next() != nil {}
    }
  }

  private func lines(_ range: Range<Int>) -> String {
    range.map { #"{"text": "line \#($0)"}"# + "\n" }.joined()
  }

  @Test func readsLinesWhateverTheirEnds() throws {
    let text = "\u{FEFF}{\"text\": \"a\"}\r\n\r\n  \n{\"text\": \"b\\r\"}\n\n{\"text\": \"c\"}"
    let file = try folder.write("a.jsonl", text)
    #expect(try texts(file) == ["a", "b\r", "c"])
  }

  @Test func countsLinesThatAreSkippedAsEmpty() throws {
    let file = try folder.write("a.jsonl", "\n\n{\"text\": \"a\"}\n\n{\"text\": \"b\"}")
    let reader = try RecordReader(source: RecordSource(paths: [file]))
    #expect(try reader.next()?.line == 3)
    #expect(try reader.next()?.line == 5)
    #expect(try reader.next() == nil)
    #expect(try reader.next() == nil)
  }

  @Test func readsManyRecordsAcrossChunks() throws {
    let file = try folder.write("a.jsonl", lines(0..<50_021))
    let all = try texts(file)
    #expect(all.count == 50_021)
    #expect(all.last == "line 50020")
  }

  @Test func readsALineOfTenMegabytes() throws {
    let long = String(repeating: "é🙂x", count: 1_500_007)
    let file = try folder.write(
      "a.jsonl", "{\"text\": \"s\"}\n{\"text\": \"\(long)\"}\n{\"text\": \"e\"}")
    let all = try texts(file)
    #expect(all.count == 3)
    #expect(all[1].utf8.elementsEqual(long.utf8))
  }

  @Test(arguments: ["gz", "zst"])
  func readsCompressedFiles(_ kind: String) throws {
    let compress = kind == "gz" ? gzipped : zstdCompressed
    let one = compress(lines(0..<30_011))
    let two = compress(lines(30_011..<30_013))
    let file = try folder.write("a.jsonl.\(kind)", one + two)
    let all = try texts(file)
    #expect(all.count == 30_013)
    #expect(all.last == "line 30012")
  }

  @Test(arguments: ["gz", "zst"])
  func truncatedCompressionIsAnErrorThatNamesTheFile(_ kind: String) throws {
    let compressed = (kind == "gz" ? gzipped : zstdCompressed)(lines(0..<9_001))
    for count in [0, 5, compressed.count / 2, compressed.count - 1] {
      let file = try folder.write("a\(count).jsonl.\(kind)", compressed[..<count])
      for policy in ErrorPolicy.allCases {
        let error = failure(file, onError: policy)
        #expect(error?.file == file, "\(count) bytes")
        #expect(error?.code == .damagedFile, "\(count) bytes")
      }
    }
  }

  @Test func damagedCompressionIsAnError() throws {
    var compressed = gzipped(lines(0..<9_001))
    for index in 900..<940 { compressed[index] ^= 0x5A }
    let damaged = try folder.write("a.jsonl.gz", compressed)
    #expect(failure(damaged, format: .text)?.code == .damagedFile)
    for kind in ["gz", "zst"] {
      let plain = try folder.write("b.jsonl.\(kind)", lines(0..<3))
      #expect(failure(plain)?.code == .damagedFile)
    }
  }

  @Test func ignoresZeroPaddingAfterGzip() throws {
    let file = try folder.write("a.jsonl.gz", gzipped(lines(0..<3)) + [0, 0, 0, 0, 0])
    #expect(try texts(file).count == 3)
    let garbage = try folder.write("b.jsonl.gz", gzipped(lines(0..<3)) + [1, 2, 3])
    #expect(failure(garbage)?.code == .damagedFile)
  }

  @Test func brokenLineStopsWithItsPlace() throws {
    let file = try folder.write("a.jsonl", "\(lines(0..<20)){\"text\" \"x\"}\n\(lines(0..<5))")
    let error = failure(file)
    #expect(error?.code == .invalidText)
    #expect(error?.line == 21)
    #expect(
      error?.description
        == "\(file):21: column 9: expected \":\" after a key (in: {\"text\" \"x\"})")
  }

  @Test func brokenLinesAreSkippedAndCounted() throws {
    var text = ""
    for index in 0..<41 { text += index % 3 == 1 ? "{\"text\": \n" : lines(index..<(index + 1)) }
    let file = try folder.write("a.jsonl", text + "{\"text\": 5}\n")
    let reader = try RecordReader(source: RecordSource(paths: [file]), onError: .skip)
    var count = 0
    while try reader.next() != nil { count += 1 }
    #expect(count == 27)
    #expect(reader.skippedCount == 15)
    #expect(reader.skipped.count == RecordReader.rememberedSkipCount)
    #expect(reader.skipped.map(\.line).prefix(3) == [2, 5, 8])
    #expect(reader.skipped[0].excerpt == "{\"text\": ")
  }

  @Test func duplicateKeysAndInvalidUTF8AreErrors() throws {
    let duplicate = try folder.write("a.jsonl", "{\"text\": \"a\", \"text\": \"b\"}\n")
    #expect(failure(duplicate)?.message.contains("duplicate key \"text\"") == true)
    let invalid = try folder.write(
      "b.jsonl", Array("{\"text\": \"".utf8) + [0xC3, 0x28, 0x22, 0x7D])
    #expect(failure(invalid)?.message.contains("not valid UTF-8") == true)
    let utf16 = try folder.write("c.jsonl", [0xFF, 0xFE, 0x7B, 0x00])
    #expect(failure(utf16)?.message.contains("iconv") == true)
  }

  @Test func excerptsAreShortAndPrintable() throws {
    let padding = String(repeating: "y", count: 5_003)
    let file = try folder.write("a.jsonl", "{\"text\": \"\(padding)\u{1B}\(padding)\"}\n")
    let excerpt = failure(file)?.excerpt ?? ""
    #expect(excerpt.utf8.count < 140)
    #expect(excerpt.contains("y\u{FFFD}y"))
  }

  @Test func sourcesWithoutRecordsAreErrors() throws {
    let empty = try folder.write("a.jsonl", "")
    let blank = try folder.write("b.jsonl", "\n \r\n\t\n")
    let text = try folder.write("c.txt", "\n\n")
    let array = try folder.write("d.json", " [ ] ")
    for file in [empty, blank, text, array] { #expect(failure(file)?.code == .noRecords) }
    let broken = try folder.write("e.jsonl", "{\n{\n")
    let error = failure(broken, onError: .skip)
    #expect(error?.code == .noRecords)
    #expect(error?.message.contains("all 2 records are broken") == true)
  }

  @Test func emptyFilesBesideOthersAreFine() throws {
    _ = try folder.write("d/a.jsonl", "")
    _ = try folder.write("d/b.jsonl", lines(0..<3))
    #expect(try texts("\(folder.path)/d").count == 3)
  }

  @Test func readsPlainTextByFileAndByParagraph() throws {
    let file = try folder.write("a.txt", "\u{FEFF}one\r\ntwo\n\n \nthree é\n\n\n")
    #expect(try texts(file) == ["one\ntwo\n\n \nthree é\n\n"])
    #expect(try texts(file, unit: .paragraph) == ["one\ntwo", "three é"])
    let reader = try RecordReader(source: RecordSource(paths: [file], textUnit: .paragraph))
    _ = try reader.next()
    #expect(try reader.next()?.line == 5)
  }

  @Test func readsJSONArrays() throws {
    let text = """
      [
        {"text": "a ] , \\" }", "x": [1, {"y": "]"}]},
        {"text": "b"}
      ]

      """
    let file = try folder.write("a.json", text)
    #expect(try texts(file) == ["a ] , \" }", "b"])
    let jsonLines = try folder.write("b.json", lines(0..<3))
    #expect(try texts(jsonLines).count == 3)
    for (index, broken) in ["[{\"text\": \"a\"},]", "[{\"text\": \"a\"}", "[{\"text\": \"a\"}] x"]
      .enumerated()
    {
      let file = try folder.write("c\(index).json", broken)
      #expect(failure(file)?.code == .invalidText, "\(broken)")
    }
  }

  @Test func contentHashDependsOnBytesAndBoundaries() throws {
    let ab = try folder.write("ab.jsonl", "ab")
    let c = try folder.write("c.jsonl", "c")
    let a = try folder.write("a.jsonl", "a")
    let bc = try folder.write("bc.jsonl", "bc")
    let copy = try folder.write("copy.jsonl", "ab")
    let hash = try RecordSource.contentHash(of: [ab, c])
    #expect(hash.count == 64)
    #expect(try RecordSource.contentHash(of: [copy, c]) == hash)
    #expect(try RecordSource.contentHash(of: [a, bc]) != hash)
    #expect(try RecordSource.contentHash(of: [c, ab]) != hash)
  }

  @Test(arguments: ErrorPolicy.allCases)
  func brokenRecordsAmongTheFirstAreTreatedAsLaterOnes(_ policy: ErrorPolicy) throws {
    for broken in ["{\"text\": null}", "{\"other\": 1}", "17", "[]", "{}"] {
      for place in [0, 3, 37] {
        let text = lines(0..<place) + "\(broken)\n" + lines(place..<41)
        let file = try folder.write("a.jsonl", text)
        guard policy == .skip else {
          let error = failure(file)
          #expect(error?.code == .invalidRecord, "\(broken)")
          #expect(error?.line == place + 1, "\(broken)")
          continue
        }
        let reader = try RecordReader(source: RecordSource(paths: [file]), onError: .skip)
        var count = 0
        while try reader.next() != nil { count += 1 }
        #expect(count == 41, "\(broken) at \(place)")
        #expect(reader.skipped.map(\.line) == [place + 1], "\(broken)")
      }
    }
  }

  @Test func manyBrokenRecordsInFrontAreSkipped() throws {
    let file = try folder.write(
      "a.jsonl", String(repeating: "{\"text\": null}\n", count: 23) + lines(0..<5))
    #expect(try texts(file, onError: .skip).count == 5)
    let none = try folder.write("b.jsonl", String(repeating: "3\n", count: 2_003))
    #expect(failure(none, onError: .skip)?.code == .unclearFormat)
  }

  @Test func readsRecordsOverSeveralLines() throws {
    let one = "\u{FEFF}\n{\n  \"text\": \"a } \\\" {\",\n  \"x\": [\n1, {\"y\": []}]\n}\n"
    #expect(try texts(try folder.write("a.json", one)) == ["a } \" {"])
    let two = one + "{\n\"text\":\n\"b\"} {\"text\": \"c\"}"
    let file = try folder.write("b.json", two)
    #expect(try texts(file) == ["a } \" {", "b", "c"])
    let reader = try RecordReader(source: RecordSource(paths: [file]))
    var places: [Int] = []
    while let record = try reader.next() { places.append(record.line) }
    #expect(places == [2, 7, 9])
    for broken in ["{\n\"text\": \"a\"", "{\n\"text\": \"a\"}}\n", "{\n\"text\" \"a\"\n}\n"] {
      #expect(failure(try folder.write("c.json", broken))?.code == .invalidText, "\(broken)")
    }
    let skipped = try folder.write("d.json", "{\n\"text\" \"a\"}\n{\n\"text\": \"b\"\n}")
    #expect(try texts(skipped, onError: .skip) == ["b"])
  }

  @Test(arguments: ["gz", "zst"], ["a.jsonl", "a.txt", "a.json"])
  func aSmallFileCannotFillTheMemory(_ kind: String, _ name: String) throws {
    let (size, limit) = (3_000_017, 300_007)
    let value = String(repeating: "x", count: size)
    let text = name == "a.json" ? "[\"\(value)\"]" : value
    let file = try folder.write("\(name).\(kind)", (kind == "gz" ? gzipped : zstdCompressed)(text))
    let error = #expect(throws: DataReadError.self) {
      let source = RecordSource(paths: [file], format: .text, maximumRecordSize: limit)
      while try RecordReader(source: source, onError: .skip).next() != nil {}
    }
    #expect(error?.message.contains("larger than \(limit) bytes") == true)
    #expect(error?.message.contains("data.max_record_bytes") == true)
  }

  @Test func aTextFileIsAsLargeAsItIs() throws {
    let line = String(repeating: "x", count: 997) + "\n"
    let file = try folder.write("a.txt", String(repeating: line, count: 1_009))
    let reader = try RecordReader(source: RecordSource(paths: [file], maximumRecordSize: 100_003))
    #expect(try reader.next() != nil)
  }

  @Test func windowsLargerThanTheLimitAreRefused() throws {
    // A frame with a window of 2 GiB and one empty raw block that is the last.
    let frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 21 << 3, 0x01, 0x00, 0x00]
    let file = try folder.write("a.jsonl.zst", frame)
    let error = failure(file)
    #expect(error?.code == .damagedFile)
    #expect(error?.message.contains("data.max_record_bytes") == true)
    let source = RecordSource(paths: [file], maximumRecordSize: 1 << 31)
    #expect(
      #expect(throws: DataReadError.self) { try RecordReader(source: source) }?.code == .noRecords)
  }

  @Test func pipesAndDevicesAreRefusedAtOnce() throws {
    let pipe = "\(folder.path)/a.jsonl"
    #expect(mkfifo(pipe, 0o600) == 0)
    try FileManager.default.createSymbolicLink(
      atPath: "\(folder.path)/b.jsonl", withDestinationPath: "/dev/zero")
    for path in [pipe, "\(folder.path)/b.jsonl"] {
      #expect(failure(path)?.message.contains("not a regular file") == true)
      #expect(throws: TokenCacheError.self) { try DataFileHasher(paths: [path]) }
    }
  }
}
