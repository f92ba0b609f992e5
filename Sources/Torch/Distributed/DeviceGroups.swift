import CTorch
import Foundation
import Synchronization

/// The groups of one rank whose operations run on its device, which fail together.
///
/// When one fails, operations of the others wait behind it on the device, or for ranks that gave up for the
/// same reason. So all are ended, all throw the first failure, and the other ranks of all are told.
public final class DeviceGroups: Sendable {
  /// The order in which their operations are issued.
  let order = IssueOrder()
  private let watches = Mutex<[GroupWatch]>([])
  /// Held while the first failure is found out.
  private let failure = Mutex<CommunicationError?>(nil)
  private let flightRecordPath: String?
  private let giveUp: @Sendable (CommunicationError) -> Void
  private let isAbandoned = Mutex(false)

  /// Groups of one rank.
  ///
  /// - Parameter flightRecordPath: Where the last operations of all groups are written when one fails,
  ///   as JSON; nil for nowhere. Plug-ins that keep no record write none.
  public convenience init(flightRecordPath: String? = nil) {
    self.init(flightRecordPath: flightRecordPath) {
      TensorFailure.stop($0.message, exitCode: CommunicationError.exitCode)
    }
  }

  /// `giveUp` is called where the thread that would throw a failure does not come back from an operation.
  init(flightRecordPath: String?, giveUp: @escaping @Sendable (CommunicationError) -> Void) {
    self.flightRecordPath = flightRecordPath
    self.giveUp = giveUp
  }

  func add(_ watch: GroupWatch) {
    failure.withLock { failure in
      watches.withLock { $0.append(watch) }
      if let failure { watch.note(failure) }
    }
  }

  func remove(_ watch: GroupWatch) { watches.withLock { $0.removeAll { $0 === watch } } }

  /// Gives up once, whichever group's watch says so.
  func abandon(_ failure: CommunicationError) {
    let isFirst = isAbandoned.withLock { isAbandoned in
      defer { isAbandoned = true }
      return !isAbandoned
    }
    if isFirst { giveUp(failure) }
  }

  /// Ends all groups with the failure that is found first.
  func breakDown(
    _ watch: GroupWatch, _ find: () -> CommunicationError
  ) -> CommunicationError {
    failure.withLock { failure in
      if let failure { return failure }
      // Before operations are ended, which would count as having come to their end.
      let record = writeFlightRecord(watch.plugin)
      var found = find()
      if let record { found.message += record }
      failure = found
      let watches = watches.withLock { $0 }
      // All first: what the end of one group lets through in another must not be taken for a result.
      for watch in watches { watch.note(found) }
      for watch in watches { watch.end(with: found) }
      return found
    }
  }

  /// What the failure's message says of the record.
  private func writeFlightRecord(_ plugin: String) -> String? {
    guard let flightRecordPath else { return nil }
    let folder = URL(fileURLWithPath: flightRecordPath).deletingLastPathComponent()
    try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    var isWritten = false
    guard ct_plugin_write_flight_record(plugin, flightRecordPath, &isWritten) == .OK else {
      return "; its last operations could not be recorded: \(String(cString: ct_last_error()))"
    }
    return isWritten ? "; this rank's last operations are in \(flightRecordPath)" : nil
  }
}
