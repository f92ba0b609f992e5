import CTorch
import Foundation

/// Values by name that all ranks see: how they find each other, and what they leave for each other.
///
/// One process serves it, the others are connected to it. May be used from several threads.
public final class Store: Sendable {
  private let connection: Connection
  private var handle: OpaquePointer { connection.handle }
  /// The server's host, as it was given.
  public let host: String
  /// Put before every key, so that ranks see only what ranks with the same prefix left.
  let prefix: String
  /// The server's port.
  public var port: Int { withHandle { Int(ct_store_port($0)) } }

  /// What several prefixes share.
  private final class Connection: @unchecked Sendable {  // `handle` is of a class that locks
    let handle: OpaquePointer
    init(_ handle: OpaquePointer) { self.handle = handle }
    deinit { ct_store_free(handle) }
  }

  private init(_ connection: Connection, host: String, prefix: String) {
    self.connection = connection
    self.host = host
    self.prefix = prefix
  }

  /// The same store, in which another prefix is put before every key.
  ///
  /// Where a server outlives the ranks and sees others after them, these must not find what the first
  /// ones left.
  public func withPrefix(_ prefix: String) -> Store {
    Store(connection, host: host, prefix: prefix)
  }

  /// Serves a store on this machine, or connects to one.
  ///
  /// - Parameters:
  ///   - host: The server's name or address.
  ///   - port: The server's port; 0 with `isServer` for a free one.
  ///   - isServer: This process serves it.
  ///   - timeout: How long to wait for the host's name and the server.
  /// - Returns: The store, or a connection to it.
  /// - Throws: `.portInUse`, or `.unreachable` where the name means nothing, or the server did not
  ///   answer, in time.
  public static func tcp(
    host: String, port: Int, isServer: Bool, timeout: Duration
  ) throws(CommunicationError) -> Store {
    precondition((0...65535).contains(port), "a port is 0 to 65535, is \(port)")
    precondition(isServer || port > 0, "a client needs the server's port")
    let deadline = ContinuousClock.now + timeout
    if let problem = HostName.problem(host, within: timeout) {
      throw storeError(
        isServer ? .failed : .unreachable, isServer ? "serve" : "connect",
        """
        the store's host \(host) is no name or address that this machine knows (\(problem), for \
        \(timeout.inSeconds)); check MASTER_ADDR, or the option of the launcher that sets it
        """)
    }
    let remaining = max(.seconds(1), ContinuousClock.now.duration(to: deadline))
    var handle: OpaquePointer?
    let status = ct_store_tcp(host, UInt16(port), isServer, remaining.wholeMilliseconds, &handle)
    if status == .OK, let handle { return Store(Connection(handle), host: host, prefix: "") }
    let cause = lastCommunicationCause()
    // The server's own failures name the system's error; a client's is that nobody answered.
    if cause.contains("EADDRINUSE") {
      throw storeError(
        .portInUse, "serve",
        """
        port \(port) is in use on this machine; end the process that listens on it, or choose another
        """)
    }
    if isServer {
      throw storeError(.failed, "serve", "the store could not listen on port \(port): \(cause)")
    }
    throw storeError(
      .unreachable, "connect",
      """
      no store answered at \(host):\(port) within \(timeout.inSeconds); check that rank 0 has \
      started, that the address is its node's and that the port is open
      """)
  }

  /// Sets the value of a key.
  public func set(_ key: String, _ value: [UInt8]) throws(CommunicationError) {
    let status = withHandle { handle in
      value.withUnsafeBufferPointer {
        ct_store_set(handle, prefix + key, $0.baseAddress, $0.count)
      }
    }
    if status != .OK { throw gone("set", key) }
  }

  /// The value of a key, for which it waits.
  ///
  /// - Throws: `.timeout` where nobody set it in time.
  public func get(_ key: String, timeout: Duration) throws(CommunicationError) -> [UInt8] {
    guard try wait(for: key, timeout: timeout) else {
      throw Self.storeError(
        .timeout, "get",
        "nobody set \(key) in the store at \(host):\(port) within \(timeout.inSeconds)", key)
    }
    var value: OpaquePointer?
    let status = withHandle { ct_store_get($0, prefix + key, &value) }
    guard status == .OK, let value else { throw gone("get", key) }
    return Tensor(adopting: value).elements(as: UInt8.self)
  }

  /// Whether a key has a value.
  public func contains(_ key: String) throws(CommunicationError) -> Bool {
    var isThere = false
    let status = withHandle { ct_store_contains($0, prefix + key, &isThere) }
    if status != .OK { throw gone("check", key) }
    return isThere
  }

  /// Adds to the number of a key, which starts from 0, and gives the sum.
  public func add(_ key: String, _ amount: Int) throws(CommunicationError) -> Int {
    var sum: Int64 = 0
    let status = withHandle { ct_store_add($0, prefix + key, Int64(amount), &sum) }
    if status != .OK { throw gone("add", key) }
    return Int(sum)
  }

  /// Waits until a key has a value; false when the time is over.
  func wait(for key: String, timeout: Duration) throws(CommunicationError) -> Bool {
    var isThere = false
    let status = withHandle {
      ct_store_wait($0, prefix + key, timeout.wholeMilliseconds, &isThere)
    }
    if status != .OK { throw gone("wait", key) }
    return isThere
  }

  func withHandle<Result>(_ body: (OpaquePointer) -> Result) -> Result {
    withExtendedLifetime(self) { body(handle) }
  }

  private func gone(_ operation: String, _ key: String) -> CommunicationError {
    let cause = lastCommunicationCause()
    return Self.storeError(
      .peerLost, operation,
      """
      \(operation) of \(key) in the store at \(host):\(port) failed: the process that hosts the \
      store is gone (\(cause))
      """, key)
  }

  private static func storeError(
    _ code: CommunicationError.Code, _ operation: String, _ message: String, _ key: String = ""
  ) -> CommunicationError {
    CommunicationError(
      code: code, operation: "store \(operation)", label: key, group: nil, missingRanks: [],
      message: message)
  }
}

/// The first line of this thread's last C++ error, to which c10d adds pages and Gloo its source file.
func lastCommunicationCause() -> String {
  let message = String(cString: ct_last_error())
  guard let line = message.split(separator: "\n").first else { return "no reason given" }
  guard line.hasPrefix("["), let end = line.range(of: "] ") else { return String(line) }
  return String(line[end.upperBound...])
}
