import Foundation

/// A process that a test has started, with what it has said.
final class EngineProcess {
  private let process = Process()
  private let outputPath: String
  /// How messages of a failed test call it.
  private let name: String

  /// Starts a program whose standard output and error both go to a file.
  ///
  /// `environment` is added to that of the tests, from which a launcher's variables are taken.
  init(
    _ name: String, executable: String, arguments: [String], environment: [String: String],
    directory: String, outputPath: String
  ) throws {
    self.name = name
    self.outputPath = outputPath
    _ = FileManager.default.createFile(atPath: outputPath, contents: nil)
    let output = try FileHandle(forWritingTo: URL(fileURLWithPath: outputPath))
    defer { try? output.close() }
    process.executableURL = URL(fileURLWithPath: executable)
    process.arguments = arguments
    process.currentDirectoryURL = URL(fileURLWithPath: directory)
    process.environment = ProcessInfo.processInfo.environment
      .filter { !Self.isOfLauncher($0.key) }
      // One thread a tensor operation, and no waiting for a name server that is not there.
      .merging(["OMP_NUM_THREADS": "1", "RES_OPTIONS": "attempts:1 timeout:1"]) { $1 }
      .merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = output
    try process.run()
  }

  var identifier: pid_t { process.processIdentifier }
  var isRunning: Bool { process.isRunning }

  /// Everything that it has said.
  var output: String { (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? "" }

  func signal(_ number: Int32) { _ = kill(identifier, number) }

  /// Waits until it has ended.
  ///
  /// - Returns: The exit code; 128 and the signal's number where a signal ended it.
  /// - Throws: `TestTimeout` with its output.
  @discardableResult
  func wait(limit: Duration = .seconds(90)) throws -> Int32 {
    try waitUntil("\(name) has ended", limit: limit, details: { self.output }) { !self.isRunning }
    let isSignal = process.terminationReason == .uncaughtSignal
    return isSignal ? 128 + process.terminationStatus : process.terminationStatus
  }

  private static func isOfLauncher(_ variable: String) -> Bool {
    [
      "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
      "XTUNER_LAUNCHER_PID",
    ].contains(variable) || variable.hasPrefix("TORCHELASTIC_") || variable.hasPrefix("SLURM_")
  }
}

/// A condition that did not come about.
struct TestTimeout: Error, CustomStringConvertible {
  var description: String
}

/// Looks again and again until `condition` holds.
///
/// - Throws: `TestTimeout` after `limit`, with `details`.
func waitUntil(
  _ what: String, limit: Duration = .seconds(90), details: () -> String = { "" },
  _ condition: () throws -> Bool
) throws {
  let deadline = ContinuousClock.now + limit
  while try !condition() {
    guard ContinuousClock.now < deadline else {
      throw TestTimeout(description: "waited \(limit) in vain until \(what)\n\(details())")
    }
    Thread.sleep(forTimeInterval: 0.01)
  }
}

/// Ports of this machine.
enum LocalPort {
  /// A port that nobody listens on.
  static func free() throws -> Int { try listening { $0 } }

  /// Runs `body` while this process listens on a port.
  static func listening<Result>(_ body: (_ port: Int) throws -> Result) throws -> Result {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let failure = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) != 0 || listen(descriptor, 1) != 0
          || getsockname(descriptor, $0, &length) != 0
      }
    }
    guard !failure else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
    return try body(Int(UInt16(bigEndian: address.sin_port)))
  }
}
