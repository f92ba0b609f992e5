import ArgumentParser
import Testing
import XTunerConfiguration

@testable import XTunerCommands

@Suite struct CommandParsingTests {
  static func request(_ line: String) -> EngineRequest? {
    let words = line.split(separator: " ").map(String.init)
    if case .run(let request) = CommandLineOutcome.parse(words) { return request }
    return nil
  }

  static func failure(_ line: String) -> String? {
    let words = line.split(separator: " ").map(String.init)
    if case .failure(let text) = CommandLineOutcome.parse(words) { return text }
    return nil
  }

  @Test func trainTakesSeveralOverrides() throws {
    guard
      case .train(let command) = Self.request(
        "train a.yaml --set x.y=3 --resume never --set z.w=[5,7] --json")
    else { throw Unexpected() }
    #expect(command.source.file == "a.yaml")
    #expect(command.source.overrides == ["x.y=3", "z.w=[5,7]"])
    #expect(command.resume == "never")
    #expect(command.json)
  }

  @Test func trainTakesANumberOfProcesses() throws {
    guard case .train(let command) = Self.request("train a.yaml --nproc 4") else {
      throw Unexpected()
    }
    #expect(command.processCount == 4)
  }

  @Test func trainDefaultsToAutomaticResumeInOneProcess() throws {
    guard case .train(let command) = Self.request("train a.yaml") else { throw Unexpected() }
    #expect(command.resume == "auto")
    #expect(command.processCount == 1)
    #expect(command.source.overrides.isEmpty)
  }

  @Test func dataInspectKeepsItsSourceNameApartFromItsFile() throws {
    guard
      case .dataInspect(let command) = Self.request(
        "data inspect a.yaml --source chats --samples 3 --index 11 --color never")
    else { throw Unexpected() }
    #expect(command.source.file == "a.yaml")
    #expect(command.sourceName == "chats")
    #expect(command.samples == 3)
    #expect(command.index == 11)
    #expect(command.color == .never)
  }

  @Test func tokenizerTrainTakesSeveralFilesAndSpecialTokens() throws {
    guard
      case .tokenizerTrain(let command) = Self.request(
        "tokenizer train --input a.txt b.jsonl --vocabulary-size 307 --out t "
          + "--special <|a|> --special <|b|>")
    else { throw Unexpected() }
    #expect(command.input == ["a.txt", "b.jsonl"])
    #expect(command.vocabularySize == 307)
    #expect(command.special == ["<|a|>", "<|b|>"])
  }

  @Test func tokenizerDecodeTakesIds() throws {
    guard case .tokenizerDecode(let command) = Self.request("tokenizer decode --tokenizer t 5 0 7")
    else { throw Unexpected() }
    #expect(command.ids == [5, 0, 7])
  }

  @Test func generateTakesRepeatedStops() throws {
    guard
      case .generate(let command) = Self.request(
        "generate m --prompt hi --stop a --stop b --temperature 0 --top-p 0.5 --top-k 3 --seed 13")
    else { throw Unexpected() }
    #expect(command.model == "m")
    #expect(command.prompt == "hi")
    #expect(command.stop == ["a", "b"])
    #expect(command.temperature == 0)
    #expect(command.topP == 0.5)
    #expect(command.topK == 3)
    #expect(command.seed == 13)
    #expect(command.thinking)
  }

  @Test func probeDefaultsToFloat32WithoutGradients() throws {
    guard case .probe(let command) = Self.request("probe m --tokens t --out o") else {
      throw Unexpected()
    }
    #expect(command.dtype == .f32)
    #expect(!command.grads)
  }

  @Test(arguments: [
    ("export r --to d --dtype bf16 --overwrite", "export"), ("info --json", "info"),
    ("config check a.yaml", "configCheck"), ("config show a.yaml --no-comments", "configShow"),
    ("config schema", "configSchema"), ("config reference", "configReference"),
    ("data stats a.yaml", "dataStats"), ("data dump a.yaml --steps 2 --out f", "dataDump"),
    ("tokenizer encode --tokenizer t --text a", "tokenizerEncode"),
    ("tokenizer info t", "tokenizerInfo"), ("demo --threads 3", "demo"),
    ("bench step", "benchStep"), ("bench gemm", "benchGemm"), ("bench load f", "benchLoad"),
    ("bench pack", "benchPack"), ("bench read f", "benchRead"),
    ("bench tokenize --tokenizer t --input f", "benchTokenize"),
  ])
  func everyCommandReachesTheEngine(line: String, name: String) throws {
    let request = try #require(Self.request(line))
    #expect("\(request)".hasPrefix("\(name)("), "\(request)")
  }

  @Test(arguments: [
    ("train", "<file>"), ("train a --nproc 0", "--nproc must be at least 1, is 0"),
    ("train a --set b", "--set needs section.key=VALUE"),
    ("generate m", "--prompt TEXT or --chat"),
    ("generate m --prompt a --temperature=-1", "--temperature must be 0 or more, is -1.0"),
    ("generate m --prompt a --top-p 0", "--top-p must be above 0 and at most 1, is 0.0"),
    ("generate m --prompt a --system b", "--chat"),
    ("probe m --tokens t --out o --dtype f16", "f16"),
    ("data dump a --steps 0 --out f", "--steps must be at least 1, is 0"),
    ("tokenizer encode --tokenizer t --input f", "--out FILE"),
    ("tokenizer train --input a --vocabulary-size 255 --out t", "at least 256, is 255"),
    ("tokenizer decode --tokenizer t", "token ids or --input"),
    ("bench step --experts 3 --experts-per-token 5", "at most --experts (3), is 5"),
    ("bench step --heads 7 --kv-heads 2", "must divide --heads (7), is 2"),
    ("demo --threads 0", "--threads must be at least 1"),
    ("bench step --device tpu", "'cpu', 'cuda' or 'npu'"),
    ("bench step --device auto", "'auto' is invalid"),
    ("bench step --set training.recompute", "KEY=VALUE"),
    ("bench step --set training.steps=5", "--set training.steps: bench step takes model.fp8"),
    (
      "bench step --recompute 2 --set training.recompute=full",
      "--recompute and --set training.recompute=full cannot both be given"
    ),
  ])
  func badCommandLinesAreRefusedWithTheValue(line: String, part: String) throws {
    let text = try #require(Self.failure(line))
    #expect(text.hasPrefix("error: "), "\(text)")
    #expect(text.contains(part), "\(text)")
    #expect(text.contains("--help"), "\(text)")
  }

  @Test(arguments: [
    ("trian a.yaml", "xtuner has no command trian; did you mean xtuner train?"),
    ("data inspcet a", "xtuner data has no command inspcet; did you mean xtuner data inspect?"),
    ("inspect a", "xtuner has no command inspect; did you mean xtuner data inspect?"),
    ("bench xyz", "xtuner bench has no command xyz; it has step, gemm, tokenize, load, pack, read"),
    ("help trian", "xtuner has no command trian; did you mean xtuner train?"),
  ])
  func misspeltCommandsGetASuggestion(line: String, message: String) throws {
    let text = try #require(Self.failure(line))
    #expect(text.hasPrefix("error: \(message)\n"), "\(text)")
  }

  @Test func controlCharactersOfArgumentsAreWrittenOut() throws {
    guard case .failure(let text) = CommandLineOutcome.parse(["a\u{1B}[2J"]) else {
      throw Unexpected()
    }
    #expect(text.contains("a\\u{1B}[2J") && !text.contains("\u{1B}"), "\(text)")
  }

  struct Unexpected: Error {}
}

@Suite struct BenchmarkEnvironmentTests {
  private func command(_ words: [String]) throws -> BenchStepCommand {
    guard case .run(.benchStep(let command)) = CommandLineOutcome.parse(["bench", "step"] + words)
    else { throw CommandParsingTests.Unexpected() }
    return command
  }

  @Test func environmentGivesTheDefaults() throws {
    let command = try command([])
    #expect(try command.sequenceLength(environment: ["SEQ": "37"]) == 37)
    #expect(try command.stepCount(environment: ["STEPS": "5"]) == 5)
    #expect(try command.threadCount(environment: ["THREADS": "3"]) == 3)
    #expect(try command.sequenceLength(environment: [:]) == 2048)
    #expect(try command.stepCount(environment: [:]) == 11)
  }

  @Test func optionsGoBeforeTheEnvironment() throws {
    let command = try command(["--seq", "41", "--steps", "2", "--threads", "1"])
    let environment = ["SEQ": "37", "STEPS": "5", "THREADS": "3"]
    #expect(try command.sequenceLength(environment: environment) == 41)
    #expect(try command.stepCount(environment: environment) == 2)
    #expect(try command.threadCount(environment: environment) == 1)
  }

  @Test func sizesAreLeftToThePreset() throws {
    let command = try command(
      ["--preset", "Qwen3-8B", "--layers", "5", "--heads", "7", "--set", "model.fp8=emulated"])
    #expect(command.preset == "Qwen3-8B")
    #expect(command.layerCount == 5)
    #expect(command.headCount == 7)
    #expect(command.hiddenSize == nil)
    #expect(command.overrides == ["model.fp8=emulated"])
    #expect(command.device == .cpu)
  }

  @Test func denseLayersHaveNoRouting() throws {
    #expect(try command(["--dense-size", "2304"]).denseSize == 2304)
    let words = ["bench", "step", "--dense-size", "2304", "--forced-routing", "uniform"]
    guard case .failure(let text) = CommandLineOutcome.parse(words) else {
      throw CommandParsingTests.Unexpected()
    }
    #expect(text.contains("--forced-routing needs experts"), "\(text)")
  }

  @Test func anEnvironmentVariableThatIsNoNumberIsAnError() throws {
    let command = try command([])
    let error = #expect(throws: ValidationError.self) {
      try command.sequenceLength(environment: ["SEQ": "2k"])
    }
    #expect(error?.message.contains("SEQ must be a number of at least 2, is 2k") == true)
  }
}
