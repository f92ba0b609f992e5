import CZlib
import CZstd
import Foundation
import XTunerData
import XTunerTokenizers

/// Token caches with a fault in any of their files: each is found unusable, or gives the same tokens.
struct TokenCacheReader: MutatedReader {
  static let name = "cache"
  private let folder: String
  private let store: TokenCacheStore
  private let key: TokenCacheKey
  private let files: [String: [UInt8]]
  private let samples: [[Int32]]

  init(folder: String) throws {
    try makeFolder(folder)
    let data = "\(folder)/data.jsonl"
    try writeFile(Array((0..<7).map { "{\"text\": \"text \($0)\"}\n" }.joined().utf8), to: data)
    let tokenizer = try Tokenizer(path: try byteTokenizer(in: folder))
    store = TokenCacheStore(folder: "\(folder)/caches")
    let options = TokenizingOptions(sequenceLength: 64)
    key = TokenCacheKey(
      files: try DataFileHasher(paths: [data]).identities, tokenizerHash: tokenizer.contentHash,
      template: nil, options: options)
    let cache = try store.openOrBuild(
      key, sourceFiles: [data],
      tokenizer: SampleTokenizer(options: options, tokenizer: tokenizer, template: nil),
      threadCount: 1,
      makeRecords: {
        let reader = try RecordReader(source: RecordSource(paths: [data]))
        return { try reader.next() }
      }
    ).cache
    self.folder = cache.folder
    samples = Self.tokens(cache)
    var files: [String: [UInt8]] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: cache.folder) {
      files[name] = try readFile("\(cache.folder)/\(name)")
    }
    self.files = files
  }

  func runCase(_ random: inout Random) throws {
    let name = random.pick(files.keys.sorted())
    let bytes = files[name] ?? []
    defer { try? writeFile(bytes, to: "\(folder)/\(name)") }
    let changed: [UInt8]
    if name.hasSuffix(".json"), random.happens(oneIn: 2) {
      let value = try JSONValue(parsing: String(decoding: bytes, as: UTF8.self))
      changed = Array(random.mutated(value).text(style: .compact).utf8)
    } else {
      changed = random.mutated(bytes)
    }
    try writeFile(changed, to: "\(folder)/\(name)")
    switch try store.lookup(key) {
    case .found(let cache):
      guard Self.tokens(cache) == samples else {
        throw MutationFailure("\(name) was changed and other tokens are read")
      }
    case .absent: throw MutationFailure("a cache with a changed \(name) is taken for absent")
    case .unusable(let reason): throw Refusal(reason)
    }
  }

  private static func tokens(_ cache: TokenCache) -> [[Int32]] {
    (0..<cache.count).map { index in
      var tokens: [Int32] = []
      var labels: [Int32] = []
      cache.append(
        at: index, range: 0..<cache.length(at: index), tokens: &tokens, labels: &labels)
      return tokens + labels
    }
  }
}

/// Records of every format with faults: each is read, or skipped and counted, and none is lost.
struct RecordsReader: MutatedReader {
  static let name = "records"
  private static let records = [
    #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "loss": true}]}"#,
    #"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]}], "tools": [{"type": "function", "function": {"name": "f"}}]}"#,
    #"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 0}], "system": "s"}"#,
    #"{"instruction": "i", "input": "j", "output": "o", "history": [["q", "a"]]}"#,
    #"{"text": "t"}"#,
  ]
  private let folder: String

  init(folder: String) throws {
    try makeFolder(folder)
    self.folder = folder
  }

  func runCase(_ random: inout Random) throws {
    let text = random.pick(Self.records)
    let value = try JSONValue(parsing: text)
    let isArray = random.happens(oneIn: 4)
    var lines = [text, text]
    for _ in 0..<random.index(in: 1...5) {
      lines.append(random.mutated(value).text(style: .compact))
    }
    let isTorn = random.happens(oneIn: 4)
    var bytes = Array(
      (isArray ? "[\(lines.joined(separator: ",\n"))]" : lines.joined(separator: "\n")).utf8)
    if isTorn { bytes = random.mutated(bytes) }
    let path = "\(folder)/a.\(isArray ? "json" : "jsonl")"
    try writeFile(bytes, to: path)
    let reader = try RecordReader(source: RecordSource(paths: [path]), onError: .skip)
    var count = 0
    let renderer = SampleRenderer(style: .plain)
    while let record = try reader.next() {
      count += 1
      guard case .conversation(let conversation) = record.content else { continue }
      let template = try ChatTemplate.named(random.pick(ChatTemplate.names))
      let segments = try template.segments(conversation.messages, tools: conversation.tools)
      _ = renderer.render(segments)
    }
    guard !isTorn, count + reader.skippedCount != lines.count else { return }
    throw MutationFailure(
      "of \(lines.count) records \(count) were read and \(reader.skippedCount) skipped")
  }
}

/// Compressed files with faults: gzip's checksum lets no other text pass.
struct CompressedReader: MutatedReader {
  static let name = "compressed"
  private let folder: String
  private let lines: [String]
  private let gzip: [UInt8]
  private let zstd: [UInt8]

  init(folder: String) throws {
    try makeFolder(folder)
    self.folder = folder
    lines = (0..<211).map { "{\"text\": \"line \($0)\"}" }
    let text = Array((lines.joined(separator: "\n") + "\n").utf8)
    gzip = Self.gzipped(text)
    zstd = Self.zstdCompressed(text)
  }

  func runCase(_ random: inout Random) throws {
    let isGzip = random.happens(oneIn: 2)
    let path = "\(folder)/a.jsonl.\(isGzip ? "gz" : "zst")"
    try writeFile(random.mutated(isGzip ? gzip : zstd), to: path)
    let source = RecordSource(paths: [path], format: .text, maximumRecordSize: 1 << 20)
    let reader = try RecordReader(source: source, onError: .skip)
    var texts: [String] = []
    while let record = try reader.next() {
      if case .text(let text) = record.content { texts.append(text) }
    }
    // Members may follow one another, so that repeated bytes can be a valid file.
    let expected = (0..<211).map { "line \($0)" }
    guard isGzip, texts.prefix(211) != expected[...] else { return }
    throw MutationFailure("a damaged gzip file gives \(texts.count) other records")
  }

  private static func gzipped(_ text: [UInt8]) -> [UInt8] {
    var input = text
    var output = [UInt8](repeating: 0, count: text.count + 1_000)
    var stream = z_stream()
    deflateInit2_(
      &stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
      Int32(MemoryLayout<z_stream>.size))
    let count = input.withUnsafeMutableBufferPointer { input in
      output.withUnsafeMutableBufferPointer { output in
        stream.next_in = input.baseAddress
        stream.avail_in = UInt32(input.count)
        stream.next_out = output.baseAddress
        stream.avail_out = UInt32(output.count)
        deflate(&stream, Z_FINISH)
        deflateEnd(&stream)
        return Int(stream.total_out)
      }
    }
    return Array(output[..<count])
  }

  private static func zstdCompressed(_ text: [UInt8]) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: ZSTD_compressBound(text.count))
    let count = ZSTD_compress(&output, output.count, text, text.count, 3)
    return Array(output[..<count])
  }
}
