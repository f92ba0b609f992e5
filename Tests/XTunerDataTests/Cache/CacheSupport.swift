import Foundation

@testable import XTunerData

/// A folder that goes away with its test.
final class ScratchFolder: Sendable {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.path + "/token-cache-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] }
}

/// Records given one after another.
func reader(_ records: [Record]) -> () throws -> (() throws -> Record?) {
  {
    var remaining = records[...]
    return { remaining.popFirst() }
  }
}

func cacheKey(_ options: TokenizingOptions, tokenizerHash: String = "t1") -> TokenCacheKey {
  TokenCacheKey(
    files: [DataFileIdentity(name: "data.jsonl", byteCount: 3, sha256: "s1")],
    tokenizerHash: tokenizerHash, template: "plain/1", options: options)
}

func records(_ count: Int, seed: UInt64 = 53) -> [Record] {
  randomLengths(count, in: 0...67, seed: seed).enumerated().map { index, length in
    let text = String(repeating: "\(index % 10)", count: length)
    return index % 3 == 0
      ? chatRecord([("user", text), ("assistant", text)], line: index + 1)
      : textRecord(text, line: index + 1)
  }
}
