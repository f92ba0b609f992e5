import ConfigurationSupport
import Foundation
import Testing

@testable import XTunerConfiguration

@Suite struct ConfigurationLoadTests {
  @Test func fillsEveryDefaultAndResolvesThoseThatDependOnOthers() throws {
    let configuration = try load(minimalYAML)
    #expect(configuration.run.name == "run")
    #expect(configuration.run.directory == "runs/run")
    #expect(configuration.model.weights == .load)
    #expect(configuration.tokenizer.path == "m")
    #expect(configuration.data.train.map(\.path) == ["a.jsonl"])
    #expect(configuration.data.train.map(\.name) == ["a"])
    #expect(configuration.data.sequenceLength == 4096)
    #expect(configuration.training.maxGradientNorm == 1)
    #expect(configuration.optimizer.betas == .init(first: 0.9, second: 0.95))
    #expect(configuration.checkpoint.keep == 3)
  }

  @Test func aByteOrderMarkIsNoText() throws {
    let file = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).yaml")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data([0xEF, 0xBB, 0xBF] + minimalYAML.utf8).write(to: file)
    #expect(try RunConfiguration.load(file: file.path).training.steps == 7)
  }

  @Test func readsEveryKindOfValue() throws {
    let configuration = try load(
      """
      run: {name: demo, directory: /r, seed: 1_000, threads: 3, deterministic: yes}
      model:
        architecture: {model_type: qwen3_moe, num_experts: 5, rope_theta: 1e6, hidden_act: no, mlp_only_layers: [1, 2.5]}
        dtype: f32
      tokenizer: {path: t}
      data:
        train:
          - a.jsonl
          - {path: b.txt.zst, format: plain, weight: 0.5}
          - {path: dir/a.jsonl, name: other}
          - more/a.jsonl
        validation_split: 0.02
        packing: split
        shuffle: off
        end_of_document: <|end|>
      training: {epochs: 3, packs_per_step: 6, micro_batch_packs: 3, recompute: 0.5,
        max_gradient_norm: null}
      optimizer: {learning_rate: 1e-4, betas: [0.8, 0.99]}
      schedule: {name: wsd, warmup_ratio: 0.1, decay_ratio: .2, minimum_learning_rate_ratio: 0.1}
      checkpoint: {keep: ~, every_steps: 11}
      logging: {console: quiet, tensorboard: False}
      """)
    #expect(configuration.run.seed == 1000)
    #expect(configuration.run.deterministic)
    let architecture = try #require(configuration.model.architecture)
    #expect(
      architecture.json() == """
        {"model_type": "qwen3_moe", "num_experts": 5, "rope_theta": 1000000.0, \
        "hidden_act": "no", "mlp_only_layers": [1, 2.5]}
        """)
    #expect(configuration.model.weights == .random)
    #expect(configuration.data.train.map(\.name) == ["a", "b", "other", "a-2"])
    #expect(configuration.data.train.map(\.weight) == [1, 0.5, 1, 1])
    #expect(configuration.data.endOfDocument == "<|end|>")
    #expect(!configuration.data.shuffle)
    #expect(configuration.training.recompute == .ratio(0.5))
    #expect(configuration.training.maxGradientNorm == nil)
    #expect(configuration.optimizer.learningRate == 1e-4)
    #expect(configuration.schedule.decayRatio == 0.2)
    #expect(configuration.checkpoint.keep == nil)
    #expect(configuration.logging.console == .quiet)
  }

  @Test func keepsTextsThatYAML11WouldTurnIntoOtherTypes() throws {
    let configuration = try load(
      minimalYAML + "run:\n  name: no\n  directory: 1:30\ntokenizer:\n  path: 2024\n")
    #expect(configuration.run.name == "no")
    #expect(configuration.run.directory == "1:30")
    #expect(configuration.tokenizer.path == "2024")
  }

  @Test func expandsAnchorsAndMergeKeys() throws {
    let configuration = try load(
      """
      model: {path: m}
      data:
        train: [&one {path: a.jsonl, format: text, weight: 2}]
        evaluation:
          - <<: *one
            weight: 3
            name: held
      training: {steps: 7}
      """)
    let source = try #require(configuration.data.evaluation.first)
    #expect(source.path == "a.jsonl")
    #expect(source.format == .text)
    #expect(source.weight == 3)
  }

  @Test func appliesOverridesInOrder() throws {
    let configuration = try load(
      minimalYAML,
      [
        "training.steps=5", "training.steps=9", "data.train=[a, {path: b}]",
        "data.train.1.weight=2",
        "model.overrides.num_hidden_layers=2", "run.name=a=b", "checkpoint.keep=null",
        "optimizer.betas=[0.5, 0.6]",
      ])
    #expect(configuration.training.steps == 9)
    #expect(configuration.data.train.map(\.path) == ["a", "b"])
    #expect(configuration.data.train[1].weight == 2)
    #expect(configuration.model.overrides?["num_hidden_layers"] == .integer(2))
    #expect(configuration.run.name == "a=b")
    #expect(configuration.checkpoint.keep == nil)
    #expect(configuration.optimizer.betas.first == 0.5)
  }

  @Test func laterChecksCanNameTheLine() throws {
    let configuration = try load(minimalYAML, ["data.template=qwen4"])
    #expect(
      configuration.error(at: "data.template", "unknown, is qwen4").description
        == "--set data.template=qwen4: data.template: unknown, is qwen4")
    #expect(
      configuration.error(at: "data.train[0].path", "no such file").description
        == "run.yaml:4: data.train[0].path: no such file")
    #expect(
      configuration.error(at: "loss.z_loss", "too large").description
        == "run.yaml: loss.z_loss: too large")
  }

  @Test func loadsAnEmptyFileWithOverrides() throws {
    let configuration = try load(
      "# nothing\n",
      ["model.preset=qwen3-0.6b", "tokenizer.path=t", "data.train=a", "training.epochs=2"])
    #expect(configuration.training.epochs == 2)
    #expect(configuration.model.weights == .random)
  }

  @Test func loadsFilesAndNamesThoseItCannotRead() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appendingPathComponent("tiny.v2.yaml").path
    try Data(minimalYAML.replacing("\n", with: "\r\n").utf8).write(to: URL(filePath: file))
    #expect(try RunConfiguration.load(file: file).run.name == "tiny.v2")

    let missing = "\(file).missing"
    let noFile = #expect(throws: ConfigurationError.self) {
      try RunConfiguration.load(file: missing)
    }
    #expect(
      noFile?.description == "\(missing): no such file; give the path of a YAML configuration")
    let isFolder = #expect(throws: ConfigurationError.self) {
      try RunConfiguration.load(file: folder.path)
    }
    #expect(
      isFolder?.description
        == "\(folder.path): is a folder; give the path of a YAML configuration")
    try Data([0x61, 0x3A, 0xFF]).write(to: URL(filePath: file))
    let notText = #expect(throws: ConfigurationError.self) {
      try RunConfiguration.load(file: file)
    }
    #expect(notText?.description == "\(file): is not UTF-8; save the file in that encoding")
  }
}
