import Foundation
import Testing
import XTunerCheckpoint
import XTunerModels
import XTunerTokenizers

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerTrainer
import Torch

/// An own tokenizer with an architecture that was made for another one.
@Suite struct FollowedVocabularyTests {
  private func load(_ tiny: TinyRun, _ model: String) throws -> RunConfiguration {
    try tiny.write(
      #"{"bos_token": null, "eos_token": {"content": "<|im_end|>"}}"#,
      to: "tokenizer/tokenizer_config.json")
    return try RunConfiguration.parse(
      """
      run: {directory: \(tiny.folder)/run, device: cpu, threads: 1}
      model: {\(model)}
      tokenizer: {path: \(tiny.folder)/tokenizer}
      data: {train: \(tiny.folder)/data.jsonl, sequence_length: 64, cache_directory: \(tiny.folder)/c}
      training: {steps: 2, packs_per_step: 2}
      export: {at_end: false}
      logging: {console: quiet}
      """, file: "run.yaml")
  }

  @Test func aPresetTakesRowsAndTokensOfTheTokenizer() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let described = try load(tiny, "preset: qwen3-0.6b").describedModel()
    let tokenizer = try Tokenizer(path: "\(tiny.folder)/tokenizer")
    #expect(described.configuration.vocabularySize == tokenizer.vocabularySize)
    #expect(described.configuration.beginTokenID == nil)
    #expect(
      described.configuration.endTokenIDs == [Int(try #require(tokenizer.id(of: "<|im_end|>")))])
    #expect(described.configuration.hiddenSize == 1024)
    #expect(described.notes.count == 1 && described.notes[0].contains("not qwen3-0.6b"))
    let given = try load(
      tiny, "preset: qwen3-0.6b, overrides: {vocab_size: 512, eos_token_id: 7}"
    ).modelConfiguration()
    #expect(given.vocabularySize == 512 && given.endTokenIDs == [7] && given.beginTokenID == nil)
  }

  @Test func anArchitectureMayLeaveThemOpen() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let sizes = """
      model_type: qwen3, hidden_size: 24, intermediate_size: 40, num_hidden_layers: 1, \
      num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, rms_norm_eps: 1.0e-6, \
      rope_theta: 10000, max_position_embeddings: 64
      """
    let open = try load(tiny, "architecture: {\(sizes)}").describedModel().configuration
    let tokenizer = try Tokenizer(path: "\(tiny.folder)/tokenizer")
    #expect(open.vocabularySize == tokenizer.vocabularySize)
    #expect(open.endTokenIDs == [Int(try #require(tokenizer.id(of: "<|im_end|>")))])
    let given = try load(tiny, "architecture: {\(sizes), vocab_size: 311, eos_token_id: null}")
      .modelConfiguration()
    #expect(given.vocabularySize == 311 && given.endTokenIDs == [])
  }

  @Test func rowsBeyondThePublishedTokenizerStay() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let tokenizer = try Tokenizer(path: "\(tiny.folder)/tokenizer")
    var model = try #require(ModelPreset.named("qwen3-0.6b")).configuration
    model.vocabularySize = tokenizer.vocabularySize + 2
    var followed = model
    let tokens = try FollowedTokens(tokenizer)
    #expect(!followed.follow(tokens) && followed == model)
    model.vocabularySize = tokenizer.vocabularySize + 5
    #expect(
      model.follow(tokens) && model.vocabularySize == tokenizer.vocabularySize)
  }

  /// The weights' rows are those of the folder, and so are the tokens of its tokenizer.
  @Test func loadedWeightsAndTheFoldersTokenizerKeepTheirRows() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let folder = ReferenceModel(name: "qwen3_untied").folder
    let loaded = try load(tiny, "path: \(folder)").describedModel()
    #expect(loaded.configuration.vocabularySize == 160 && loaded.notes == [])
    let random = try load(tiny, "path: \(folder), weights: random").describedModel()
    let size = try Tokenizer(path: "\(tiny.folder)/tokenizer").vocabularySize
    #expect(size != 160 && random.configuration.vocabularySize == size)
    #expect(random.notes.count == 1)
  }

  /// A run of before goes on with the rows that it began with, one of now with those that it has.
  @Test func aCheckpointKeepsItsRows() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let folder = ReferenceModel(name: "qwen3_untied").folder
    let configuration = try load(tiny, "path: \(folder), weights: random")
    func checkpoint(rows: Int?) throws -> RunCheckpoint {
      var contents = try RunCheckpointContents(
        step: rows ?? 0, files: [], pieces: [], state: ["none": 0], configurationHash: "none",
        libraryVersions: [:])
      if let rows {
        var model = try ModelConfiguration(path: folder)
        model.vocabularySize = rows
        contents.modelFiles = [("config.json", Array(try model.configurationText().utf8))]
      }
      return try RunCheckpointStore(folder: "\(tiny.folder)/store").write(contents)
    }
    let old = try configuration.describedModel(startingAt: try checkpoint(rows: nil))
    #expect(old.configuration.vocabularySize == 160 && old.notes == [])
    #expect(old.configuration.endTokenIDs == [2])
    let new = try configuration.describedModel(startingAt: try checkpoint(rows: 311))
    #expect(new.configuration.vocabularySize == 311 && new.notes == [])
  }

  @Test func aRunIsResumedAndExportedWithTheRowsItHas() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let text = "path: \(ReferenceModel(name: "qwen3_untied").folder), weights: random, dtype: f32"
    func train(_ steps: Int) throws -> TrainingOutcome {
      var configuration = try load(tiny, text)
      configuration.training.steps = steps
      return try TrainingRun(
        configuration, resume: .automatic, stopRequest: StopRequest()
      ).run()
    }
    #expect(try train(2).step == 2)
    #expect(try train(3).step == 3)
    let export = try RunExport(path: "\(tiny.folder)/run")
    try export.write(to: "\(tiny.folder)/out", dtype: .float32, overwrites: false)
    let model = try ModelConfiguration(path: "\(tiny.folder)/out")
    let tokenizer = try Tokenizer(path: "\(tiny.folder)/out")
    #expect(model.vocabularySize == tokenizer.vocabularySize)
    #expect(model.endTokenIDs == [Int(try #require(tokenizer.id(of: "<|im_end|>")))])
    let log = try String(contentsOfFile: "\(tiny.folder)/run/log.txt", encoding: .utf8)
    #expect(log.split(separator: "\n").count { $0.contains("the weights are random") } == 1)
  }
}
