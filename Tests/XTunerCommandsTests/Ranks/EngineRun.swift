import Foundation
import Testing
import XTunerCheckpoint
import XTunerTokenizers
import XTunerTrainer

/// A folder with data, tokenizer and configuration of a run whose steps take milliseconds, and the
/// processes that train it with the real program.
final class EngineRun {
  /// Seconds until a rank that waits in vain gives up.
  static let timeoutSeconds = 5
  /// More steps than any test waits for.
  static let endless = ["training.steps=1000000"]

  let folder: String
  private var processes: [EngineProcess] = []
  private let engine: String

  /// Runs `body` with a folder, then kills what still runs and removes the folder.
  static func with<Result>(_ body: (EngineRun) throws -> Result) throws -> Result {
    let run = try EngineRun()
    defer { run.end() }
    return try body(run)
  }

  private init() throws {
    engine = try Self.engine()
    folder =
      FileManager.default.temporaryDirectory
      .appendingPathComponent("xtuner-ranks-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try writeInputs(in: folder)
  }

  /// The program beside the tests in the build folder.
  private static func engine() throws -> String {
    let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let path = URL(fileURLWithPath: tests).deletingLastPathComponent()
      .appendingPathComponent("xtuner-engine").path
    try #require(
      FileManager.default.isExecutableFile(atPath: path),
      "\(path) is not there; build it with `swift build --product xtuner-engine`")
    return path
  }

  private func end() {
    for identifier in living() { kill(identifier, SIGKILL) }
    for process in processes { _ = try? process.wait(limit: .seconds(20)) }
    try? FileManager.default.removeItem(atPath: folder)
  }

  // MARK: Processes

  /// Starts `xtuner train --nproc`.
  func launch(
    ranks: Int, run: String, _ overrides: [String] = [], resume: String? = nil
  ) throws -> EngineProcess {
    let launcher = ranks > 1 ? ["--nproc", String(ranks)] : []
    return try start(
      "the launcher", [engine] + arguments(run: run, overrides, resume: resume) + launcher)
  }

  /// Trains to the end, and expects that it succeeds.
  func train(
    ranks: Int, run: String, _ overrides: [String] = [], resume: String? = nil
  ) throws {
    let process = try launch(ranks: ranks, run: run, overrides, resume: resume)
    let code = try process.wait()
    try #require(code == 0, "\(process.output)\n\(log(run: run))")
  }

  /// Starts one rank as torchrun would, without torchrun.
  ///
  /// It may write `fileLimit` bytes to a file; a rank whose disk is full has the same trouble.
  func startRank(
    _ rank: Int, of count: Int, port: Int, run: String, _ overrides: [String] = [],
    configuration: String? = nil, directory: String? = nil, fileLimit: Int? = nil
  ) throws -> EngineProcess {
    let command = [engine] + arguments(run: run, overrides, configuration: configuration)
    let shell = fileLimit.map { limit in
      ["/bin/sh", "-c", "trap '' XFSZ; ulimit -f \(limit / 512); exec \"$0\" \"$@\""]
    }
    return try start(
      "rank \(rank)", (shell ?? []) + command,
      [
        "RANK": String(rank), "LOCAL_RANK": String(rank), "WORLD_SIZE": String(count),
        "LOCAL_WORLD_SIZE": String(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": String(port),
      ], directory: directory)
  }

  /// Starts any program on this run.
  func start(
    _ name: String, _ command: [String], _ environment: [String: String] = [:],
    directory: String? = nil
  ) throws -> EngineProcess {
    let process = try EngineProcess(
      name, executable: command[0], arguments: Array(command.dropFirst()),
      environment: environment, directory: directory ?? folder,
      outputPath: "\(folder)/output-\(processes.count)")
    processes.append(process)
    return process
  }

  /// `xtuner-engine export` of a checkpoint.
  func export(_ checkpoint: String, to path: String, dtype: String = "f32") throws {
    let process = try start(
      "the export", [engine, "export", checkpoint, "--to", path, "--dtype", dtype])
    try #require(try process.wait() == 0, "\(process.output)")
  }

  /// The command line of a training process, without the program.
  func arguments(
    run: String, _ overrides: [String], configuration: String? = nil, resume: String? = nil
  ) -> [String] {
    let settings = (["run.directory=\(folder)/\(run)"] + overrides).flatMap { ["--set", $0] }
    return ["train", configuration ?? "\(folder)/config.yaml"] + settings
      + (resume.map { ["--resume", $0] } ?? [])
  }

  var enginePath: String { engine }

  /// The whole command of the run `a`, for a shell.
  func command(ranks: Int, _ overrides: [String]) -> [String] {
    [engine] + arguments(run: "a", overrides) + (ranks > 1 ? ["--nproc", String(ranks)] : [])
  }

  /// Every process whose command line names this folder.
  func living() -> [pid_t] {
    let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return all.compactMap { pid_t($0) }.filter { identifier in
      identifier != getpid() && Self.words(identifier, "cmdline").contains { $0.contains(folder) }
    }
  }

  /// The process of a rank that a launcher has started.
  func process(ofRank rank: Int) -> pid_t? {
    living().first { Self.words($0, "environ").contains("RANK=\(rank)") }
  }

  /// The null-terminated words of a file of the kernel.
  private static func words(_ identifier: pid_t, _ file: String) -> [String] {
    let bytes = FileManager.default.contents(atPath: "/proc/\(identifier)/\(file)") ?? Data()
    return bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }

  // MARK: Results

  /// One step as `metrics.jsonl` has it.
  struct Step: Equatable {
    var number: Int
    var loss: Double
    var gradientNorm: Double
  }

  /// The steps of a run, in the order of the file.
  func steps(run: String) -> [Step] {
    let bytes = FileManager.default.contents(atPath: "\(folder)/\(run)/metrics.jsonl") ?? Data()
    return bytes.split(separator: UInt8(ascii: "\n")).compactMap { line in
      guard let object = try? JSONSerialization.jsonObject(with: line) as? [String: Any],
        let number = object["step"] as? Int, let loss = object["loss"] as? Double,
        let norm = object["grad_norm"] as? Double
      else { return nil }
      return Step(number: number, loss: loss, gradientNorm: norm)
    }
  }

  /// The first step that each session of a run computed, of those that ended well.
  func firstSteps(run: String) -> [Int?] {
    let text = try? String(contentsOfFile: "\(folder)/\(run)/log.txt", encoding: .utf8)
    return (text ?? "").matches(of: /first_step=(\w+)/).map { Int($0.1) }
  }

  /// Waits until a run has done some steps.
  func waitForSteps(_ count: Int, run: String) throws {
    try waitUntil(
      "run \(run) has done \(count) steps",
      details: { self.processes.map(\.output).joined(separator: "\n") + self.log(run: run) }
    ) { steps(run: run).count >= count }
  }

  func store(run: String) -> RunCheckpointStore {
    RunCheckpointStore(folder: "\(folder)/\(run)/checkpoints")
  }

  /// Names of files and folders in `checkpoints` that are no checkpoints.
  func leftovers(run: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: store(run: run).folder)
      .filter { Int($0.suffix(8)) == nil }
  }

  /// The logs of all ranks but 0.
  func log(run: String) -> String {
    let logs = "\(folder)/\(run)/logs"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: logs)) ?? []
    return names.sorted().map { name in
      let text = try? String(contentsOfFile: "\(logs)/\(name)", encoding: .utf8)
      return "\(name):\n\(text ?? "")"
    }.joined(separator: "\n")
  }
}
