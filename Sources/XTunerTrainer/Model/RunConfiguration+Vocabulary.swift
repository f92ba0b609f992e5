import Foundation
import XTunerCheckpoint
import XTunerConfiguration
import XTunerModels
import XTunerRun
import XTunerTokenizers

/// What a model whose weights are random takes over: rows of the embedding, begin and end tokens.
struct FollowedTokens {
  var rowCount: Int
  var beginTokenID: Int?
  var endTokenIDs: [Int]

  init(_ tokenizer: Tokenizer) throws {
    rowCount = tokenizer.vocabularySize
    beginTokenID = try tokenizer.beginTokenID().map { Int($0) }
    endTokenIDs = try tokenizer.endTokenID().map { [Int($0)] } ?? []
  }

  init(_ configuration: ModelConfiguration) {
    rowCount = configuration.vocabularySize
    beginTokenID = configuration.beginTokenID
    endTokenIDs = configuration.endTokenIDs
  }
}

/// A vocabulary that follows the tokenizer.
extension RunConfiguration {
  /// What rows and tokens follow, or nil where the model keeps its own: with weights that are loaded, or
  /// with the tokenizer of the model's folder.
  ///
  /// A run that goes on keeps what its checkpoint says; those of before version 3, which say nothing,
  /// had followed nothing. An absent tokenizer is no error here: whoever encodes with it reports it.
  func followedTokens(startingAt checkpoint: RunCheckpoint?) throws -> FollowedTokens? {
    guard model.weights == .random, let path = tokenizer.path, path != model.path else {
      return nil
    }
    if let checkpoint {
      return try ModelConfiguration(carriedBy: checkpoint).map { FollowedTokens($0) }
    }
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    return try FollowedTokens(Tokenizer(path: path))
  }

  /// `architecture` with what it leaves open.
  func completed(
    _ architecture: ConfigurationValue, startingAt checkpoint: RunCheckpoint?
  ) throws -> ConfigurationValue {
    let keys = ["vocab_size", "bos_token_id", "eos_token_id"]
    guard case .mapping(var entries) = architecture,
      keys.contains(where: { architecture[$0] == nil }),
      let followed = try followedTokens(startingAt: checkpoint)
    else { return architecture }
    var rows = followed.rowCount
    if case .integer(let given) = architecture["vocab_size"] { rows = given }
    // A vocabulary that was written too small is reported as such, and not through these tokens.
    let begin = followed.beginTokenID.flatMap { $0 < rows ? ConfigurationValue.integer($0) : nil }
    let ends = followed.endTokenIDs.filter { $0 < rows }
    let values: [ConfigurationValue] = [
      .integer(rows), begin ?? .null, .list(ends.map { .integer($0) }),
    ]
    for (key, value) in zip(keys, values) where architecture[key] == nil {
      entries.append(.init(key, value))
    }
    return .mapping(entries)
  }

  func followingNote(_ configuration: ModelConfiguration) -> String {
    let begin = configuration.beginTokenID.map(String.init) ?? "none"
    let ends = configuration.endTokenIDs.map(String.init).joined(separator: ", ")
    return """
      the weights are random, so the embedding's \(configuration.vocabularySize) rows, begin token \
      (\(begin)) and end token (\(ends.isEmpty ? "none" : ends)) follow \(tokenizer.path ?? "") and not \
      \(model.preset ?? model.path ?? "the model"); model.overrides rule where given
      """
  }
}

extension ModelConfiguration {
  /// The configuration that a checkpoint carries; nil for one of before version 3.
  init?(carriedBy checkpoint: RunCheckpoint) throws {
    let name = ModelExport.configurationName
    guard let text = try checkpoint.modelFiles().first(where: { $0.name == name })?.bytes else {
      return nil
    }
    try self.init(parsing: text, file: "\(checkpoint.path)/\(name)")
  }

  /// Rows that a published embedding may have beyond its tokenizer, as a share: Qwen3 has 151,936 for
  /// 151,669 tokens.
  private static let paddedShare = 0.01

  /// Takes rows, begin and end token over; false where the rows are these already, padding included.
  mutating func follow(_ tokens: FollowedTokens) -> Bool {
    let spare = vocabularySize - tokens.rowCount
    if spare >= 0 && Double(spare) <= Self.paddedShare * Double(vocabularySize) { return false }
    vocabularySize = tokens.rowCount
    beginTokenID = tokens.beginTokenID
    endTokenIDs = tokens.endTokenIDs
    paddingTokenID = nil
    return true
  }
}

extension ModelConfiguration {
  /// A tokenizer with more ids than the embedding has rows would fail in the middle of a step.
  func checkVocabulary(of tokenizer: Tokenizer) throws {
    guard tokenizer.vocabularySize > vocabularySize else { return }
    throw TrainingError(
      .model,
      """
      the tokenizer's largest id is \(tokenizer.vocabularySize - 1), the model's embedding has \
      \(vocabularySize) rows (vocab_size); use the model's own tokenizer, or set \
      model.overrides.vocab_size to at least \(tokenizer.vocabularySize) when training from scratch
      """)
  }
}
