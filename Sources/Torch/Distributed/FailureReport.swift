/// What is said when an operation of a group fails, by whichever thread notices it.
struct FailureReport: Sendable {
  let name: String
  let ranks: [Int]
  let timeout: Duration
  let board: FailureBoard?
  /// Whether the cause is said too where ranks are missing: for Gloo it is only that they are.
  var quotesCause = false

  /// Tells the other ranks, finds out who is silent, and puts it into words; takes up to a few seconds.
  func failure(of operation: Operation, cause: String) -> CommunicationError {
    let elapsed = operation.issued.duration(to: .now)
    let silence = board?.report(operation, cause: cause) ?? .nobody(because: nil)
    let start = """
      \(operation.description) in group \(name) (\(named(ranks: ranks))) failed after \
      \(elapsed.inSeconds):
      """
    let code: CommunicationError.Code
    var missing: [Int] = []
    let message: String
    switch silence {
    case .places(let places):
      missing = places.map { ranks[$0] }
      code = elapsed >= timeout ? .timeout : .peerLost
      let quoted = quotesCause && code != .timeout ? " (\(cause))" : ""
      let whose = missing.count == 1 ? "its log" : "their logs"
      message = """
        \(start) \(named(ranks: missing)) did not take part\(quoted); look at \(whose) for the first \
        error
        """
    case .nobody(let reason):
      code = elapsed >= timeout ? .timeout : .failed
      message = "\(start) \(reason ?? cause)"
    case .storeIsGone:
      code = .peerLost
      message = """
        \(start) the process that hosts the store is gone or stands still, so ranks cannot say \
        who is missing; look at the log of rank 0 or of the launcher (\(cause))
        """
    }
    return CommunicationError(
      code: code, operation: operation.name, label: operation.label, group: name,
      missingRanks: missing, message: message)
  }
}
