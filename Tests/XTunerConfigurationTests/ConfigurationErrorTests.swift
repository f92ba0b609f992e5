import ConfigurationSupport
import Testing

@testable import XTunerConfiguration

@Suite struct ConfigurationErrorTests {
  @Test func reportsEveryProblemInFileOrder() {
    let text = problems(
      """
      model:
        path: m
        dtype: bf61
      data:
        train: a.jsonl
        sequence_lenght: 512
      training:
        steps: many
        packs_per_step: 0
      optimiser:
        learning_rate: 1
      optimizer:
        learning_rate: -1
        betas: [0.9]
        beta: 1
      checkpoint:
        save_optimizer: maybe
      """, ["loss.chunk_size=1.5", "schedule.nmae=linear"])
    #expect(
      text == """
        run.yaml:3: model.dtype: must be one of f32, bf16, is bf61 (did you mean bf16?)
        run.yaml:6: data.sequence_lenght: unknown key; did you mean sequence_length?
        run.yaml:8: training.steps: must be a whole number of at least 1, is many
        run.yaml:9: training.packs_per_step: must be a whole number of at least 1, is 0
        run.yaml:10: optimiser: unknown section; did you mean optimizer?
        run.yaml:13: optimizer.learning_rate: must be a number above 0, is -1
        run.yaml:14: optimizer.betas: must be two numbers from 0 to below 1, such as [0.9, 0.95], \
        is a list of 1 item
        run.yaml:15: optimizer.beta: unknown key; did you mean betas?
        run.yaml:17: checkpoint.save_optimizer: must be true or false, is maybe
        --set loss.chunk_size=1.5: loss.chunk_size: must be a whole number of at least 1, is 1.5
        --set schedule.nmae=linear: schedule.nmae: unknown key; did you mean name?
        """)
  }

  /// One wrong line, added to a configuration that is right otherwise, and what is said about it.
  struct Case: Sendable, CustomTestStringConvertible {
    let yaml: String
    let message: String
    var testDescription: String { yaml }

    init(_ yaml: String, _ message: String) {
      self.yaml = yaml
      self.message = message
    }
  }

  @Test(arguments: [
    Case(
      "run: {seed: \"5\"}",
      """
      run.seed: must be a whole number of at least 0, is \"5\" (remove the quotes)
      """),
    Case(
      "run: {seed: 1e3}",
      """
      run.seed: must be a whole number of at least 0, is 1e3 (write it in digits: 1000)
      """),
    Case(
      "run: {seed: 010}",
      "run.seed: must be a whole number of at least 0, is 010 (write it without leading zeros: 10)"),
    Case("run: {seed: 1:30}", "run.seed: must be a whole number of at least 0, is 1:30"),
    Case("run: {seed: }", "run.seed: must be a whole number of at least 0, is empty"),
    Case(
      "run: {seed: 99999999999999999999}",
      """
      run.seed: must be at most 9223372036854775807 (it is a whole number of 63 bits), \
      is 99999999999999999999
      """),
    Case(
      "run: {seed: [1, 2]}",
      """
      run.seed: must be a whole number of at least 0, is a list of 2 items
      """),
    Case("run: {seed: {a: 1}}", "run.seed: must be a whole number of at least 0, is a mapping"),
    Case(
      "run: {deterministic: \"true\"}",
      """
      run.deterministic: must be true or false, is \"true\" (remove the quotes)
      """),
    Case("run: {deterministic: 1}", "run.deterministic: must be true or false, is 1"),
    Case("run: {name: [a]}", "run.name: must be a name, is a list of 1 item"),
    Case("run: {name: ''}", "run.name: must be a name, is \"\""),
    Case("run: 5", "run: must be a section with keys, is 5"),
    Case("run: [seed]", "run: must be a section with keys, is a list of 1 item"),
    Case(
      "run: {learning_rate: 1}",
      """
      run.learning_rate: unknown key; did you mean optimizer.learning_rate?
      """),
    Case(
      "run: {zzz: 1}",
      "run.zzz: unknown key; known here: name, directory, seed, device, threads, deterministic"),
    Case("seed: 5", "seed: unknown section; did you mean run.seed?"),
    Case(
      "every_steps: 5",
      """
      every_steps: unknown section; did you mean evaluation.every_steps or \
      checkpoint.every_steps or logging.every_steps?
      """),
    Case("optimizer: {epsilon: .nan}", "optimizer.epsilon: must be a number above 0, is .nan"),
    Case(
      "optimizer: {weight_decay: .inf}",
      """
      optimizer.weight_decay: must be a number of at least 0, is .inf
      """),
    Case(
      "optimizer: {betas: [0.9, 1]}",
      """
      optimizer.betas: must be two numbers from 0 to below 1, such as [0.9, 0.95], is 1
      """),
    Case(
      "optimizer: {name: AdamW}",
      """
      optimizer.name: must be one of adamw, muon, is AdamW (did you mean adamw?)
      """),
    Case(
      "loss: {reduction: !!bool yes}",
      """
      loss.reduction: must be one of token, sample, square, is yes
      """),
    Case("loss: {z_loss: !secret 1}", "loss.z_loss: has the unknown YAML tag !secret"),
    Case(
      "schedule: {warmup_ratio: 1.5}",
      """
      schedule.warmup_ratio: must be a number from 0 to 1, is 1.5
      """),
    Case(
      "schedule: {warmup_ratio: .5, warmup_steps: 1}",
      """
      schedule.warmup_ratio: cannot be combined with schedule.warmup_steps; set one of them \
      to null
      """),
    Case("schedule: {name: wsd}", "schedule: wsd needs decay_steps or decay_ratio"),
    Case(
      "schedule: {decay_steps: 2}",
      """
      schedule.decay_steps: is for schedule.name wsd, which is cosine
      """),
    Case(
      "schedule: {name: wsd, warmup_steps: 3, decay_steps: 5}",
      """
      schedule.decay_steps: must be at most training.steps less the warm-up (4), is 5
      """),
    Case(
      "schedule: {name: wsd, warmup_ratio: 0.75, decay_ratio: 0.5}",
      """
      schedule.decay_ratio: must leave room for the warm-up: both together are at most 1, \
      are 1.25
      """),
    Case(
      "schedule: {warmup_steps: 11}",
      """
      schedule.warmup_steps: must be at most training.steps (7), is 11
      """),
    Case(
      "schedule: {name: constant, minimum_learning_rate_ratio: 0.1}",
      """
      schedule.minimum_learning_rate_ratio: must be 0 with schedule.name constant, is 0.1
      """),
    Case(
      "evaluation: {every_steps: 5}",
      """
      evaluation.every_steps: needs held-out data; give data.evaluation or \
      data.validation_split
      """),
  ])
  func namesTheLineTheKeyTheValueAndWhatWouldWork(_ example: Case) {
    #expect(problems(minimalYAML + example.yaml) == "run.yaml:7: \(example.message)")
  }

  @Test(arguments: [
    Case("training.steps", "must be KEY=VALUE, such as training.steps=100"),
    Case("=5", "must name a setting before =, such as training.steps=100"),
    Case("training..steps=5", "must name a setting before =, such as training.steps=100"),
    Case("training.step=5", "training.step: unknown key; did you mean steps?"),
    Case("training.steps.x=5", "training.steps: is a value (7) and has no key x"),
    Case("data.train.0.path=x", "data.train: is a value (a.jsonl) and has no key 0"),
    Case(
      "run.name={a",
      """
      run.name: the value is not YAML: did not find expected ',' or '}' (column 1)
      """),
    Case("traning.steps=5", "traning: unknown section; did you mean training?"),
    Case(
      "training.epochs=2",
      """
      training.epochs: cannot be combined with training.steps; set one of them to null
      """),
  ])
  func namesTheOverrideThatIsWrong(_ example: Case) {
    #expect(
      problems(minimalYAML, [example.yaml]) == "--set \(example.yaml): \(example.message)")
  }

  @Test func emptyOverrideTakesASettingBack() {
    #expect(
      problems(minimalYAML, ["training.steps=", "run.nmae"]) == """
        run.yaml:5: training: needs steps or epochs
        --set run.nmae: must be KEY=VALUE, such as training.steps=100
        """)
  }

  @Test func rejectsIndexesBeyondAList() {
    let text = minimalYAML.replacing("train: a.jsonl", with: "train: [a, b]")
    #expect(
      problems(text, ["data.train.2=x"])
        == "--set data.train.2=x: data.train: is a list of 2; give an index below that, not 2")
  }

  @Test func reportsMissingSectionsOnceEach() {
    #expect(
      problems("") == """
        run.yaml: model: needs one of path (a Hugging Face folder), preset or architecture
        run.yaml: data.train: needs at least one source; give a path or a list of paths
        run.yaml: training: needs steps or epochs
        """)
  }

  @Test func doesNotCallAMisspeltKeyMissing() {
    #expect(
      problems(minimalYAML.replacing("steps:", with: "stpes:"))
        == "run.yaml:6: training.stpes: unknown key; did you mean steps?")
  }

  @Test func rejectsModelCombinations() {
    let both = minimalYAML.replacing("path: m", with: "path: m\n  preset: qwen3-0.6b")
    #expect(
      problems(both) == "run.yaml:3: model.preset: cannot be combined with path; keep one")
    let preset = minimalYAML.replacing("path: m", with: "preset: qwen3-0.6b\n  weights: load")
    #expect(
      problems(preset) == """
        run.yaml:3: model.weights: must be random without model.path, is load
        run.yaml: tokenizer.path: must be given, because model.path is not
        """)
    let inline = minimalYAML.replacing(
      "path: m", with: "architecture: {vocab_size: 1}\n  overrides: {vocab_size: 2}")
    #expect(
      problems(inline, ["tokenizer.path=t"])
        == "run.yaml:3: model.overrides: cannot be combined with architecture; put the keys there")
  }

  @Test func rejectsSourcesThatCannotBeRead() {
    let text = minimalYAML.replacing(
      "train: a.jsonl",
      with: """
        train:
            - {path: a, name: x}
            - {format: csv}
            - [b]
            - {path: c, name: x}
            - {pth: d}
          validation_split: 0.1
          evaluation: e
        """)
    #expect(
      problems(text) == """
        run.yaml:6: data.train[1].format: must be one of auto, messages, sharegpt, alpaca, text, \
        plain, is csv
        run.yaml:6: data.train[1].path: must be given
        run.yaml:7: data.train[2]: must be a path or a mapping of sources, is a list of 1 item
        run.yaml:8: data.train[3].name: must differ from that of data.train[0], is x
        run.yaml:9: data.train[4].pth: unknown key; did you mean path?
        run.yaml:10: data.validation_split: cannot be combined with data.evaluation; keep one
        """)
  }

  @Test func rejectsBatchesThatDoNotDivide() {
    #expect(
      problems(minimalYAML + "  packs_per_step: 7\n  micro_batch_packs: 3\n") == """
        run.yaml:8: training.micro_batch_packs: must divide training.packs_per_step (7), is 3
        """)
  }

  @Test(arguments: [
    Case("run:\n\tseed: 5", "run.yaml:2: is not YAML: a tab indents this line; indent with spaces"),
    Case(
      "run: {seed: 5\nmodel: 3",
      """
      run.yaml:2: is not YAML: did not find expected ',' or '}' (column 6)
      """),
    Case(
      "- a\n- b",
      """
      run.yaml:1: must be a mapping of sections such as model and data, is a list of 2 items
      """),
    Case("hello", "run.yaml:1: must be a mapping of sections such as model and data, is hello"),
    Case("a: 1\n---\nb: 2", "run.yaml:2: has more than one YAML document; keep one"),
    Case(
      "run:\n  seed: 1\n  seed: 2",
      """
      run.yaml:2: the key \"seed\" is given more than once in one mapping, first here; keep \
      one
      """),
    Case("run:\n  seed: *x", "run.yaml:2: is not YAML: found undefined alias (column 9)"),
    Case("run:\n  [a, b]: 1", "run.yaml:2: run: a key must be a plain text"),
    Case("run:\n  <<: 5", "run.yaml:2: run: the merge key << must name a mapping, is 5"),
    Case(
      "run:\n  name: \u{1}",
      """
      run.yaml:2: is not YAML: control characters are not allowed (character U+1)
      """),
  ])
  func namesTheLineOfBrokenYAML(_ example: Case) {
    #expect(problems(example.yaml) == example.message)
  }

  @Test func refusesAnchorsThatExpandWithoutEnd() {
    var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...8 {
      let items = Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", ")
      text += "a\(level): &a\(level) [\(items)]\n"
    }
    #expect(problems(text).hasSuffix("anchors expand to more than 100000 values"))
  }

  /// Compared as a key, the last anchor would be two to the power of 40 values.
  @Test(.timeLimit(.minutes(1)), arguments: ["? *a40 : 1", "? [*a40]\n: 1", "{*a40 : 1}"])
  func refusesAnchorsAsKeys(line: String) {
    var text = "a0: &a0 [x]\n"
    for level in 1...40 { text += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n" }
    let said = problems(text + "b:\n  \(line.replacing("\n", with: "\n  "))\n")
    #expect(said.hasSuffix("anchors expand to more than 100000 values"), "\(said)")
  }

  @Test func refusesAListAsAKeyThatAnAnchorNames() {
    #expect(
      problems("run: &r [a, b]\nmodel:\n  *r : 1\n") == "run.yaml:3: a key must be a plain text")
  }

  @Test func aliasesOfTextsAreKeysAndStarsAreTexts() throws {
    let configuration = try load(
      minimalYAML.replacing("a.jsonl", with: "'data/*.jsonl'")
        + "run: {&k name: x*y}\noptimizer: {*k : muon}\n")
    #expect(configuration.data.train.map(\.path) == ["data/*.jsonl"])
    #expect(configuration.run.name == "x*y")
    #expect(configuration.optimizer.name == .muon)
  }

  @Test(.timeLimit(.minutes(1))) func listsTheFirstProblemsOfVeryMany() {
    let keys = (0..<49_003).map { "  key\($0): 1\n" }.joined()
    let lines = problems(minimalYAML + "loss:\n" + keys).split(separator: "\n")
    #expect(lines.count == 101)
    #expect(lines[0].hasPrefix("run.yaml:8: loss.key0: unknown key; known here: reduction"))
    #expect(lines[100] == "run.yaml: 48903 more problems are not listed")
  }

  @Test func readsNoFileWithoutEnd() {
    let error = #expect(throws: ConfigurationError.self) {
      try RunConfiguration.load(file: "/dev/zero")
    }
    #expect(error?.description == "/dev/zero: has more than 4 MiB; give a YAML configuration")
  }
}
