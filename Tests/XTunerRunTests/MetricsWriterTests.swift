import Foundation
import Testing

@testable import XTunerRun

/// A folder that is gone when the test is.
final class TemporaryFolder {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }

  func text(_ name: String) throws -> String {
    try String(contentsOfFile: "\(path)/\(name)", encoding: .utf8)
  }
}

func step(_ number: Int, loss: Double = 2.5) -> StepMetrics {
  StepMetrics(
    step: number, loss: loss, gradientNorm: 1.25, learningRate: 3e-4, tokens: 4099,
    lossTokens: 1009, tokensPerSecond: 12_345.5, stepSeconds: 0.33)
}

@Suite struct MetricsWriterTests {
  @Test func linesHaveTheDocumentedKeys() throws {
    var metrics = step(7)
    metrics.modelFlopsUtilization = 0.31
    metrics.memoryPeakBytes = 3_000_000_001
    metrics.dataSeconds = 0.01
    metrics.maxViolation = 0.5
    metrics.balanceLoss = 1e-5
    #expect(
      metrics.jsonLine == """
        {"step": 7, "loss": 2.5, "grad_norm": 1.25, "lr": 0.0003, "tokens": 4099, \
        "loss_tokens": 1009, "tokens_per_second": 12345.5, "step_seconds": 0.33, "mfu": 0.31, \
        "memory_peak_bytes": 3000000001, "data_seconds": 0.01, "max_violation": 0.5, \
        "balance_loss": 1e-05}
        """)
    #expect(
      EvaluationMetrics(
        step: 7, loss: 2, lossTokens: 11, seconds: 1.5, sourceLosses: [.init("a \"b\"", 3)]
      ).jsonLine == """
        {"step": 7, "evaluation_loss": 2.0, "evaluation_loss_tokens": 11, \
        "evaluation_seconds": 1.5, "evaluation_source_loss": {"a \\"b\\"": 3.0}}
        """)
  }

  @Test func numbersThatAreNotFiniteAreNullAndNamed() throws {
    var metrics = step(3, loss: .nan)
    metrics.gradientNorm = .infinity
    metrics.balanceLoss = -.infinity
    metrics.isSkipped = true
    metrics.sourceLosses = [.init("web", 1), .init("code", .nan)]
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(metrics.jsonLine.utf8)) as? [String: Any])
    #expect(object["loss"] is NSNull)
    #expect(object["mfu"] is NSNull)
    #expect(object["skipped"] as? Bool == true)
    #expect(
      object["non_finite"] as? [String: String] == [
        "loss": "nan", "grad_norm": "inf", "balance_loss": "-inf", "source_loss.code": "nan",
      ])
  }

  /// Steps of the file's step lines, and of its evaluation lines as negative numbers.
  private func steps(_ path: String) throws -> [Int] {
    try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map { line in
      let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
      let number = object?["step"] as? Int ?? .min
      return object?["evaluation_loss"] == nil ? number : -number
    }
  }

  @Test func resumingCutsOffLaterStepsSoThatEachIsThereOnce() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/metrics.jsonl"
    do {
      let writer = try MetricsWriter(path: path, resumingAfter: nil)
      for number in 1...7 {
        try writer.write(step(number))
        if number % 3 == 0 {
          try writer.write(EvaluationMetrics(step: number, loss: 1, lossTokens: 1, seconds: 1))
        }
      }
      try writer.synchronize()
    }
    let writer = try MetricsWriter(path: path, resumingAfter: 3)
    #expect(try steps(path) == [1, 2, 3, -3])
    for number in 4...5 { try writer.write(step(number)) }
    #expect(try steps(path) == [1, 2, 3, -3, 4, 5])
    _ = try MetricsWriter(path: path, resumingAfter: 0)
    #expect(try steps(path) == [])
    #expect(!FileManager.default.fileExists(atPath: "\(path).incomplete"))
  }

  @Test(arguments: ["{\"step\": 3, \"lo", "{", "\0\0\0\0", "{\"step\": 3", "{\"st\n"])
  func tornLastLineIsRepaired(tail: String) throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/metrics.jsonl"
    let whole = "\(step(1).jsonLine)\n\(step(2).jsonLine)\n"
    try Data((whole + tail).utf8).write(to: URL(filePath: path))
    let history = try MetricsHistory(path: path)
    #expect(history.training.map(\.step) == [1, 2])
    _ = try MetricsWriter(path: path, resumingAfter: 5)
    #expect(try folder.text("metrics.jsonl") == whole)
  }

  @Test func lineThatOnlyLacksItsNewlineIsKept() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/metrics.jsonl"
    try Data(step(1).jsonLine.utf8).write(to: URL(filePath: path))
    let writer = try MetricsWriter(path: path, resumingAfter: 1)
    try writer.write(step(2))
    #expect(try steps(path) == [1, 2])
  }

  @Test func brokenLineInTheMiddleIsNamed() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/metrics.jsonl"
    try Data("\(step(1).jsonLine)\nhello\n\(step(2).jsonLine)\n".utf8)
      .write(to: URL(filePath: path))
    let error = #expect(throws: RunDirectoryError.self) {
      try MetricsWriter(path: path, resumingAfter: 2)
    }
    #expect(error?.code == .damaged)
    #expect(
      error?.description == "\(path):2: is not a line of metrics; delete the line to go on")
  }

  @Test func newRunRefusesTheMetricsOfAnother() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/metrics.jsonl"
    try MetricsWriter(path: path, resumingAfter: nil).write(step(1))
    let error = #expect(throws: RunDirectoryError.self) {
      try MetricsWriter(path: path, resumingAfter: nil)
    }
    #expect(
      error?.description
        == "\(path): holds the metrics of an earlier run; resume it, or set another run.directory")
  }

  @Test(.enabled(if: FileManager.default.fileExists(atPath: "/dev/full")))
  func fullDiskIsNamed() throws {
    let writer = try MetricsWriter(path: "/dev/full", resumingAfter: 0)
    let error = #expect(throws: RunDirectoryError.self) { try writer.write(step(1)) }
    #expect(error?.code == .noSpace)
    #expect(
      error?.description == """
        /dev/full: cannot write: No space left on device; free space, or set run.directory to \
        another disk
        """)
  }

  @Test func historySeparatesCurvesAndKeepsGaps() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/metrics.jsonl"
    #expect(try MetricsHistory(path: path) == MetricsHistory())
    let writer = try MetricsWriter(path: path, resumingAfter: nil)
    try writer.write(step(1, loss: 5))
    try writer.write(step(2, loss: .nan))
    try writer.write(EvaluationMetrics(step: 2, loss: 4, lossTokens: 1, seconds: 1))
    let history = try MetricsHistory(path: path)
    #expect(history.training.map(\.step) == [1, 2])
    #expect(history.training[0].loss == 5)
    #expect(history.training[1].loss.isNaN)
    #expect(history.evaluation == [.init(step: 2, loss: 4)])
  }
}
