import Foundation
import Synchronization

/// Writes `metrics.jsonl`: one line a step and one an evaluation, each step exactly once.
///
/// Every line is one write, so a kill leaves at most the last line torn; the next
/// ``init(path:resumingAfter:)`` repairs that.
public final class MetricsWriter: Sendable {
  private let file: AppendOnlyFile
  /// Whether the step that counts as done has an evaluation already.
  package let isEvaluated: Bool
  /// The last step that the file had before anything was cut off; nil for a file without lines.
  package let lastStep: Int?

  /// Opens the file for a new run, or for a run that continues.
  ///
  /// Continuing cuts off every line after `step` (steps that will run again, and a torn line at
  /// the end) by writing a shorter file and renaming it. An evaluation after step N must be
  /// written before the checkpoint of step N, because a run resumed there does not repeat it.
  ///
  /// - Parameters:
  ///   - path: Usually ``RunLayout/metrics``.
  ///   - step: The last step that counts as done; 0 to start over; `nil` for a new run, which
  ///     refuses a file that has lines.
  /// - Throws: ``RunDirectoryError``, `damaged` with the line for a line in the middle that is
  ///   not a metrics line.
  public init(path: String, resumingAfter step: Int?) throws(RunDirectoryError) {
    let contents = FileManager.default.contents(atPath: path) ?? Data()
    guard let step else {
      guard contents.isEmpty else {
        throw .init(
          code: .occupied, path: path,
          reason: "holds the metrics of an earlier run; resume it, or set another run.directory")
      }
      (isEvaluated, lastStep) = (false, nil)
      file = try AppendOnlyFile(path: path)
      return
    }
    let lines = try MetricsFile.complete(contents, path: path)
    isEvaluated = lines.contains { $0.step == step && $0.isEvaluation }
    lastStep = lines.map(\.step).max()
    let kept = MetricsFile.joined(lines.filter { $0.step <= step })
    if kept != contents { try FileWriting.replace(path, with: kept) }
    file = try AppendOnlyFile(path: path)
  }

  /// Appends the line of a step.
  public func write(_ metrics: StepMetrics) throws(RunDirectoryError) {
    try file.append(Array("\(metrics.jsonLine)\n".utf8))
  }

  /// Appends the line of an evaluation.
  public func write(_ metrics: EvaluationMetrics) throws(RunDirectoryError) {
    try file.append(Array("\(metrics.jsonLine)\n".utf8))
  }

  /// Waits until all lines are on the disk; call it before a checkpoint counts as complete.
  public func synchronize() throws(RunDirectoryError) {
    try file.synchronize()
  }
}

/// Reading of `metrics.jsonl`.
enum MetricsFile {
  private static let newline = UInt8(ascii: "\n")

  /// The file that has these lines.
  static func joined(_ lines: [Line]) -> Data {
    var kept = Data()
    for line in lines {
      kept.append(contentsOf: line.bytes)
      kept.append(newline)
    }
    return kept
  }

  /// One line without its newline.
  struct Line {
    let step: Int
    let bytes: Data

    /// Whether it is of an evaluation and not of a step.
    var isEvaluation: Bool { MetricsFile.object(bytes)?["evaluation_loss"] != nil }
  }

  /// Every whole line; a last line that is not whole is left out.
  static func complete(_ contents: Data, path: String) throws(RunDirectoryError) -> [Line] {
    var lines: [Line] = []
    var start = contents.startIndex
    var number = 0
    while start < contents.endIndex {
      number += 1
      let end = contents[start...].firstIndex(of: newline)
      let bytes = contents[start..<(end ?? contents.endIndex)]
      if let step = step(of: bytes, isLast: end == nil) {
        lines.append(.init(step: step, bytes: bytes))
      } else if let end, contents.index(after: end) < contents.endIndex {
        throw .init(
          code: .damaged, path: "\(path):\(number)",
          reason: "is not a line of metrics; delete the line to go on")
      }
      start = end.map { contents.index(after: $0) } ?? contents.endIndex
    }
    return lines
  }

  /// The step of a line; `nil` for a line that is torn or is not one of ours.
  private static func step(of bytes: Data, isLast: Bool) -> Int? {
    // Our own lines start like this; parsing a long run's file as JSON would take seconds.
    let prefix = Array("{\"step\": ".utf8)
    if !isLast, bytes.starts(with: prefix), bytes.last == UInt8(ascii: "}") {
      let digits = bytes.dropFirst(prefix.count).prefix { $0 >= 0x30 && $0 <= 0x39 }
      return Int(String(decoding: digits, as: UTF8.self))
    }
    return object(bytes)?["step"] as? Int
  }

  static func object(_ bytes: Data) -> [String: Any]? {  // own names
    (try? JSONSerialization.jsonObject(with: bytes)) as? [String: Any]
  }
}

/// The loss curve of a run, read back from `metrics.jsonl`.
public struct MetricsHistory: Sendable, Equatable {
  /// Loss after a number of steps.
  public struct Point: Sendable, Equatable {
    /// The step.
    public var step: Int
    /// The loss; NaN where it was not finite.
    public var loss: Double

    /// Pairs a step with its loss.
    public init(step: Int, loss: Double) {
      self.step = step
      self.loss = loss
    }
  }

  /// Training loss by step.
  public var training: [Point] = []
  /// Held-out loss by step.
  public var evaluation: [Point] = []

  /// Creates an empty history.
  public init() {}

  /// Reads a file; a torn line at its end is left out, a missing file is an empty history.
  public init(path: String) throws(RunDirectoryError) {
    let contents = FileManager.default.contents(atPath: path) ?? Data()
    for line in try MetricsFile.complete(contents, path: path) {
      guard let object = MetricsFile.object(line.bytes) else { continue }
      if let loss = object["evaluation_loss"] {
        evaluation.append(.init(step: line.step, loss: loss as? Double ?? .nan))
      } else if let loss = object["loss"] {
        training.append(.init(step: line.step, loss: loss as? Double ?? .nan))
      }
    }
  }
}
