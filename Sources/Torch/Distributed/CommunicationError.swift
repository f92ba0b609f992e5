/// Ranks could not reach each other, or one was lost.
public struct CommunicationError: Error, Sendable, CustomStringConvertible {
  /// What went wrong.
  public enum Code: String, Sendable {
    /// The time-out passed.
    case timeout
    /// A rank, or the process that hosts the store, went away.
    case peerLost
    /// The store's host did not answer.
    case unreachable
    /// Another process listens on the store's port.
    case portInUse
    /// Anything else; the message has libtorch's reason.
    case failed
  }

  /// Exit code of a process whose operation with a lost rank does not return.
  public static let exitCode: Int32 = 8

  /// What went wrong.
  public let code: Code
  /// What was being done, such as `all-gather`.
  public let operation: String
  /// What it was done to, such as `layers.3.experts`; empty where there is nothing to name.
  public let label: String
  /// The name of the group; nil for the store.
  public let group: String?
  /// Global ranks that did not take part, ascending; empty where they are not known.
  public let missingRanks: [Int]
  /// A sentence for people that names all of it.
  public internal(set) var message: String

  /// The message.
  public var description: String { message }

  /// The kind of failure without values, for metrics.
  public var shortDescription: String { "\(operation): \(code.rawValue)" }
}

extension Duration {
  /// Milliseconds, rounded up: a time-out that is not zero stays so.
  var wholeMilliseconds: Int64 {
    let (seconds, attoseconds) = components
    return seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
  }

  /// For messages: `30 s`, `1.5 s`.
  var inSeconds: String {
    let tenths = (wholeMilliseconds + 50) / 100
    return tenths % 10 == 0 ? "\(tenths / 10) s" : "\(tenths / 10).\(tenths % 10) s"
  }
}

/// For messages: `rank 2`, `ranks 0, 2`, and of many the first and the last.
func named(ranks: [Int]) -> String {
  let shown = ranks.count <= 8 ? ranks.map(String.init) : ranks.prefix(6).map(String.init)
  let rest = ranks.count <= 8 ? "" : ", ... \(ranks[ranks.count - 1])"
  return "\(ranks.count == 1 ? "rank" : "ranks") \(shown.joined(separator: ", "))\(rest)"
}
