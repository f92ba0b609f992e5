import Foundation
import Torch

@testable import XTunerEngine
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerLaunch
@testable import XTunerTrainer

extension TinyRun {
  /// Trains with several ranks, which are threads of this process.
  @discardableResult
  func train(
    ranks: Int, run: String, _ overrides: [String] = [], resume: ResumePolicy = .automatic
  ) throws -> TrainingOutcome {
    guard ranks > 1 else { return try train(run: run, overrides, resume: resume) }
    let configuration = try configuration(run: run, overrides)
    return try runRanks(ranks) { rank, store in
      let environment = RankEnvironment(
        rank: rank, worldSize: ranks, localRank: rank, localWorldSize: ranks,
        masterAddress: "127.0.0.1", masterPort: store.port, usesAgentStore: true,
        launcher: .torchrun)
      return try TrainingRun(
        configuration, resume: resume, stopRequest: StopRequest(), environment: environment
      ).run()
    }[0]
  }

  /// A line of `metrics.jsonl`.
  struct Line {
    var step: Int
    var isEvaluation: Bool
    /// Nil where it is `null`.
    var loss: Double?
    var rate: Double
    var tokens: Int
    var isSkipped: Bool
  }

  func lines(run: String) throws -> [Line] {
    let text = try String(contentsOfFile: "\(folder)/\(run)/metrics.jsonl", encoding: .utf8)
    return try text.split(separator: "\n").map { line in
      let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] ?? [:]
      return Line(
        step: object["step"] as? Int ?? -1, isEvaluation: object.keys.contains("evaluation_loss"),
        loss: object["loss"] as? Double, rate: object["lr"] as? Double ?? .nan,
        tokens: object["tokens"] as? Int ?? 0, isSkipped: object["skipped"] as? Bool ?? false)
    }
  }

  /// The lines of steps.
  func steps(run: String) throws -> [Line] { try lines(run: run).filter { !$0.isEvaluation } }

  func checkpoint(run: String, step: Int) -> String {
    let digits = String(step)
    return "\(folder)/\(run)/checkpoints/step-\(String(repeating: "0", count: 8 - digits.count))"
      + digits
  }

  /// Names in a folder of a run, sorted; empty where there is none.
  func names(run: String, _ folder: String) -> [String] {
    let path = "\(self.folder)/\(run)/\(folder)"
    return ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
  }

  func log(run: String) throws -> String {
    try String(contentsOfFile: "\(folder)/\(run)/log.txt", encoding: .utf8)
  }
}
