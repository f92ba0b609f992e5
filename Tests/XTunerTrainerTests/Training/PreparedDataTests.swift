import Foundation
import Testing
import XTunerData
import XTunerTokenizers

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

/// Which samples are trained and which are held out.
@Suite struct PreparedDataTests {
  private func prepare(
    _ tiny: TinyRun, _ overrides: [String] = [], resuming saved: LoaderIdentity? = nil
  ) throws -> PreparedData {
    let configuration = try tiny.configuration(run: "a", overrides)
    return try PreparedData(
      configuration, model: configuration.modelConfiguration(), resuming: saved)
  }

  private func contents(_ sources: [DataSource]) -> Set<[Int32]> {
    Set(
      sources.flatMap { source in
        (0..<source.samples.count).map { source.samples.tokensAndLabels(at: $0).tokens }
      })
  }

  private func lines(_ sources: [DataSource]) -> Set<Int> {
    Set(
      sources.flatMap { source in
        (0..<source.samples.count).compactMap { source.samples.origin(at: $0)?.line }
      })
  }

  @Test func runsOfAllSeedsAreEvaluatedOnTheSameSamples() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let first = try prepare(tiny, ["run.seed=5"])
    let second = try prepare(tiny, ["run.seed=7"])
    #expect(contents(first.evaluation) == contents(second.evaluation))
    let other = try prepare(tiny, ["data.validation_seed=11"])
    #expect(contents(first.evaluation) != contents(other.evaluation))
    #expect(contents(other.evaluation).isDisjoint(with: contents(other.training)))
  }

  @Test(arguments: ["best_fit", "split", "none"])
  func piecesOfADocumentAreAllOnOneSide(packing: String) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let data = try prepare(
      tiny, ["data.sequence_length=13", "data.packing=\(packing)", "data.validation_split=0.3"])
    let (training, held) = (lines(data.training), lines(data.evaluation))
    #expect(training.count > 50 && held.count > 10)
    #expect(training.isDisjoint(with: held))
    let counts = (data.training + data.evaluation).map(\.samples.count).reduce(0, +)
    if packing == "split" {
      #expect(counts == 97)
    } else {
      #expect(counts > 2 * 97, "every text is longer than 13 tokens")
    }
  }

  @Test func textsAreTrainedWholeByDefaultAndConversationsAreCut() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let long = String(repeating: "The number 7 and its square 49. ", count: 50)
    try tiny.write(long, to: "long.txt")
    try tiny.write(
      #"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "\#(long)"}]}"#,
      to: "chat.jsonl")
    func tokens(_ path: String, _ overrides: [String] = []) throws -> (Int, [String]) {
      let data = try prepare(
        tiny,
        [
          "data.train=\(tiny.folder)/\(path)", "data.validation_split=null",
          "evaluation.every_steps=null",
        ] + overrides)
      let samples = data.training[0].samples
      return ((0..<samples.count).reduce(0) { $0 + samples.length(at: $1) }, data.notes)
    }
    let tokenizer = try Tokenizer(path: "\(tiny.folder)/tokenizer")
    // With the token that ends the document.
    let all = try tokenizer.encode(long, addSpecialTokens: false).count + 1
    let (text, notes) = try tokens("long.txt")
    #expect((all - 1...all).contains(text))
    #expect(notes.isEmpty)
    let (whole, _) = try tokens("long.txt", ["data.packing=split"])
    #expect(whole == all)
    let (cut, told) = try tokens("long.txt", ["data.overlong=truncate"])
    #expect(cut == 64)
    #expect(told[0].hasPrefix("long: 89.4 %"))
    #expect(told[0].contains("% of the tokens were cut off: 1 of 1 samples"))
    let (chat, chatNotes) = try tokens("chat.jsonl")
    #expect(chat == 64)
    #expect(chatNotes[0].contains("% of the tokens were cut off: 1 of 1 samples"))
  }

  @Test func aSplitThatHoldsNothingOutIsToldAndTrains() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let data = try prepare(tiny, ["data.validation_split=1.0e-9"])
    #expect(data.evaluation.isEmpty)
    #expect(data.notes.contains { $0.contains("holds none out") })
    let error = #expect(throws: ConfigurationError.self) {
      try prepare(tiny, ["data.validation_split=0.999999999"])
    }
    #expect(error?.description.contains("holds out all 97 samples") == true)
  }

  /// Held-out samples, pieces and order of a run stay those of the version that began it.
  @Test func aRunOfTheFirstRulesKeepsItsData() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let overrides = ["data.sequence_length=13", "data.validation_split=0.3"]
    let configuration = try tiny.configuration(run: "a", overrides)
    // As the version before made them.
    let saved = LoaderState(
      epoch: 0, packsConsumed: 3,
      identity: try JSONDecoder().decode(
        LoaderIdentity.self,
        from: Data(
          """
          {"data":"0","sampleCount":1,"seed":5,"isShuffled":true,"packing":{"mode":"best_fit",\
          "sequenceLength":13,"lookAhead":1024}}
          """.utf8)))
    let data = try prepare(tiny, overrides, resuming: saved.identity)
    // Texts were cut to the sequence, and held out by the run's seed.
    let samples = (data.training + data.evaluation).map(\.samples)
    #expect(samples.reduce(0) { $0 + $1.count } == 97)
    #expect(
      samples.allSatisfy { store in (0..<store.count).allSatisfy { store.length(at: $0) == 13 } })
    let bySeed = try prepare(tiny, overrides + ["run.seed=7"], resuming: saved.identity)
    #expect(contents(bySeed.evaluation) != contents(data.evaluation))
    #expect(data.notes.contains { $0.contains("earlier version") })
    let first = try data.makeLoader(configuration)
    for _ in 0..<3 { _ = try first.nextStep() }
    let state = try JSONDecoder().decode(
      LoaderState.self, from: JSONEncoder().encode(first.state))
    #expect(state.identity?.rules == nil)
    let second = try prepare(tiny, overrides, resuming: state.identity).makeLoader(configuration)
    try second.restore(state)
    #expect(try second.nextStep() == first.nextStep())
  }

  /// A source's loss is that of a run that evaluates on this source alone.
  @Test func theLossOfEachSourceIsReported() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let texts = (0..<11).map { #"{"text": "Seven times \#($0) is \#(7 * $0), or so they say."}"# }
    try tiny.write(texts.joined(separator: "\n"), to: "seven.jsonl")
    try tiny.write(
      (0..<5).map { #"{"text": "Again again again again again \#($0)"}"# }.joined(separator: "\n"),
      to: "again.jsonl")
    func evaluation(_ run: String, _ files: [String]) throws -> JSONValue {
      let paths = files.map { "\(tiny.folder)/\($0).jsonl" }.joined(separator: ", ")
      let outcome = try tiny.train(
        run: run,
        [
          "data.validation_split=null", "data.evaluation=[\(paths)]", "training.steps=2",
          "evaluation.every_steps=2", "export.at_end=false", "checkpoint.at_end=false",
        ])
      let lines = try String(contentsOfFile: outcome.layout.metrics, encoding: .utf8)
        .split(separator: "\n")
      return try JSONValue(parsing: String(try #require(lines.last)))
    }
    func number(_ value: JSONValue?) throws -> Double {
      let text = try #require(value).text()
      return try #require(Double(text))
    }
    let both = try evaluation("both", ["seven", "again"])
    var (sum, count) = (0.0, 0.0)
    for name in ["seven", "again"] {
      let alone = try evaluation(name, [name])
      let loss = try number(alone["evaluation_loss"])
      let tokens = try number(alone["evaluation_loss_tokens"])
      #expect(abs(try number(both["evaluation_source_loss"]?[name]) - loss) < 1e-9)
      sum += loss * tokens
      count += tokens
    }
    #expect(try number(both["evaluation_loss_tokens"]) == count)
    #expect(abs(try number(both["evaluation_loss"]) - sum / count) < 1e-6)
  }
}
