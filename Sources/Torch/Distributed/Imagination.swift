import Synchronization

/// Ranks that do not exist, so that one process goes through the steps of any one rank of many.
///
/// All groups of a mesh share one.
public final class Imagination: Sendable {
  /// What goes from one rank to others, in the order in which it is asked for.
  public struct Message: Sendable, Hashable {
    /// Such as `all-gather`.
    public let operation: String
    /// What travels, such as `layers.3.experts`.
    public let label: String
    /// Among whom, such as `expertShard`.
    public let group: String
    /// Bytes that this rank sends.
    public let byteCount: Int
  }

  /// What ranks compute on.
  public let kind: Device.Kind
  /// Rows that come to this rank's experts, as a multiple of the mean.
  public let expertLoad: Double
  private let recorded = Mutex<[Message]>([])

  /// Ranks that compute on devices of a kind.
  public init(kind: Device.Kind, expertLoad: Double = 1) {
    precondition(expertLoad >= 0, "experts get at least no rows, not \(expertLoad) of the mean")
    (self.kind, self.expertLoad) = (kind, expertLoad)
  }

  /// What travelled since the last call.
  public func takeMessages() -> [Message] {
    recorded.withLock { messages in
      defer { messages = [] }
      return messages
    }
  }

  func record(_ operation: String, _ label: String, group: String, byteCount: Int) {
    let message = Message(
      operation: operation, label: label, group: group, byteCount: byteCount)
    recorded.withLock { $0.append(message) }
  }
}
