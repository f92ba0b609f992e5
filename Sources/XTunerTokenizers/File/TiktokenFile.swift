internal import Foundation

/// A file of base64 tokens with their ranks, one a line.
enum TiktokenFile {
  /// The tokens by id; the rank is the id.
  static func vocabulary(_ bytes: [UInt8], file: String) throws(TokenizerError) -> Vocabulary {
    var vocabulary = Vocabulary(capacity: bytes.count / 17)
    var number = 0
    for line in bytes.split(separator: 0x0A, omittingEmptySubsequences: false) {
      number += 1
      let text = line.last == 0x0D ? line.dropLast() : line
      if text.isEmpty { continue }
      let key = "line \(number)"
      let parts = text.split(separator: 0x20)
      guard parts.count == 2, let rank = Int32(String(decoding: parts[1], as: UTF8.self)),
        rank >= 0, rank < 10_000_000,
        let token = Data(base64Encoded: Data(parts[0])), !token.isEmpty
      else {
        throw TokenizerError(
          .malformed, file: file, key: key,
          "must be a base64 token, a space and a rank; the file is damaged or not tiktoken")
      }
      guard !vocabulary.contains(id: Int(rank)) else {
        throw TokenizerError(.inconsistent, file: file, key: key, "has rank \(rank) a second time")
      }
      let isNew = Array(token).withUnsafeBufferPointer { vocabulary.add($0, id: rank) }
      guard isNew else {
        throw TokenizerError(
          .inconsistent, file: file, key: key, "has the token of rank \(rank) a second time")
      }
    }
    guard vocabulary.count > 0 else {
      throw TokenizerError(.malformed, file: file, "holds no tokens")
    }
    return vocabulary
  }

  /// Every pair of tokens that together are a token merges, at the rank of that token.
  ///
  /// Only cuts that leave two lengths of tokens are tried, so that one huge token costs little.
  static func merges(of vocabulary: Vocabulary) -> MergeTable {
    var found: [(left: Int32, right: Int32, id: Int32)] = []
    found.reserveCapacity(vocabulary.count * 3)
    let lengths = Set(vocabulary.ids.indices.map { vocabulary.table.bytes(at: $0).count })
    let ordered = lengths.sorted()
    for (index, id) in vocabulary.ids.enumerated() {
      vocabulary.table.bytes(at: index).withUnsafeBufferPointer { token in
        for cut in ordered {
          guard cut < token.count else { return }
          guard lengths.contains(token.count - cut) else { continue }
          guard let left = vocabulary.id(of: UnsafeBufferPointer(rebasing: token[..<cut])),
            let right = vocabulary.id(of: UnsafeBufferPointer(rebasing: token[cut...]))
          else { continue }
          found.append((left, right, id))
        }
      }
    }
    let table = MergeTable(pairCount: found.count)
    for pair in found {
      table.insert(pair.left, pair.right, MergeTable.Merge(rank: UInt32(pair.id), id: pair.id))
    }
    return table
  }

  /// The special tokens: from `added_tokens_decoder` of the configuration, else the family's own.
  static func addedTokens(
    _ configuration: ConfigurationNode?, family: TokenizerFamily, rankCount: Int, file: String
  ) throws(TokenizerError) -> [AddedToken] {
    guard let listed = try configuration?.member("added_tokens_decoder") else {
      guard let tokens = family.builtInTokens(rankCount: rankCount) else {
        throw TokenizerError(
          .unreadable, file: file,
          "needs tokenizer_config.json with added_tokens_decoder beside it for the family "
            + family.rawValue)
      }
      return tokens
    }
    var tokens = family.reservedTokens(rankCount: rankCount)
    for token in try addedTokens(listed) {
      tokens.removeAll { $0.id == token.id }
      tokens.append(token)
    }
    return tokens.sorted { $0.id < $1.id }
  }

  /// The members of `added_tokens_decoder`, in order of id.
  static func addedTokens(_ listed: ConfigurationNode) throws(TokenizerError) -> [AddedToken] {
    var tokens: [AddedToken] = []
    for (name, value) in try listed.object() {
      guard let id = Int(name), id >= 0, id < 10_000_000 else {
        throw TokenizerError(
          .malformed, file: listed.file, key: listed.path(name), "must be named by an id")
      }
      let node = ConfigurationNode(value, file: listed.file, key: listed.path(name))
      tokens.append(try AddedToken(node, id: id))
    }
    return tokens.sorted { $0.id < $1.id }
  }
}
