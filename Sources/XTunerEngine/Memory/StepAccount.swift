import Torch

/// Writes down what steps without memory take, send and compute while the engine goes through them.
final class StepAccount {
  let ledger: MemoryLedger
  private let imagination: Imagination
  private let recordsOperations: Bool
  private var names = ["prepare"]
  private var messages: [[Imagination.Message]] = []
  private var operations: [[OperationProfile.Operation]] = [[]]

  init(_ imagination: Imagination, recordsOperations: Bool) {
    ledger = MemoryLedger(imagining: imagination.kind)
    self.imagination = imagination
    self.recordsOperations = recordsOperations
  }

  /// Ends what went on before.
  func begin(_ name: String) {
    ledger.beginMoment()
    messages.append(imagination.takeMessages())
    names.append(name)
    operations.append([])
  }

  /// Runs `body` as a moment of its own.
  func record<Result>(_ name: String, _ body: () throws -> Result) rethrows -> Result {
    begin(name)
    guard recordsOperations else { return try body() }
    let (result, profile) = try OperationProfile.record(body)
    operations[operations.count - 1] = profile.operations.sorted {
      ($0.byteCount, $1.name) > ($1.byteCount, $0.name)
    }
    return result
  }

  /// All moments so far.
  func moments() -> [DryRun.Moment] {
    let messages = messages + [imagination.takeMessages()]
    return ledger.moments.enumerated().map { index, memory in
      DryRun.Moment(
        name: names[index], memory: memory, messages: messages[index],
        operations: operations[index])
    }
  }
}

extension TrainingEngine {
  /// Runs `body`, whose tensors are for `purpose`; a moment of its own where steps are written down.
  func accounted<Result>(
    _ name: @autoclosure () -> String, for purpose: MemoryPurpose, _ body: () throws -> Result
  ) rethrows -> Result {
    try withMemory(for: purpose) {
      guard let account else { return try body() }
      return try account.record(name(), body)
    }
  }
}
