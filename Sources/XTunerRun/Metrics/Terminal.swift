import Foundation
import XTunerSystem

/// What the program knows about the terminal behind a stream.
public struct Terminal: Sendable {
  private let descriptor: Int32
  private let environment: [String: String]

  /// The terminal behind standard error, where progress goes.
  public static var standardError: Terminal {
    .init(descriptor: STDERR_FILENO, environment: ProcessInfo.processInfo.environment)
  }

  /// The terminal behind standard output, where results go.
  public static var standardOutput: Terminal {
    .init(descriptor: STDOUT_FILENO, environment: ProcessInfo.processInfo.environment)
  }

  /// Describes a stream.
  init(descriptor: Int32, environment: [String: String]) {
    self.descriptor = descriptor
    self.environment = environment
  }

  /// True when a person looks at the stream and lines can be drawn again.
  public var isInteractive: Bool {
    isatty(descriptor) == 1 && environment["TERM"] != "dumb"
  }

  /// True when escape codes may colour the text; `NO_COLOR` turns colours off.
  public var hasColor: Bool {
    isInteractive && (environment["NO_COLOR"] ?? "").isEmpty
  }

  /// Columns of the terminal; 80 when there is none.
  public var columns: Int {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }

  /// Writes a text; a stream that is gone is not worth stopping a run for.
  public func write(_ text: String) {
    _ = WholeWrite.write(Array(text.utf8), to: descriptor)
  }
}
