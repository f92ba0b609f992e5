public import Foundation

/// What the system said, in its own words.
public enum SystemReason {
  /// The reason of an error of Foundation, which has a number for people and the words inside.
  ///
  /// - Returns: Such as `No such file or directory`; the error's own description where the system gave
  ///   no reason.
  public static func text(_ error: any Error) -> String {
    guard let number = errorNumber(error) else {
      let own = error.localizedDescription
      return own.contains("NSCocoaErrorDomain") ? "the system gave no reason (\(own))" : own
    }
    let words = String(cString: strerror(number))
    return number == EMFILE ? "\(words); raise the limit of open files (ulimit -n)" : words
  }

  /// The number behind an error, through as many layers as there are.
  static func errorNumber(_ error: any Error) -> Int32? {
    if let error = error as? POSIXError { return error.code.rawValue }
    if let error = error as? CocoaError, let cause = error.underlying { return errorNumber(cause) }
    let bridged = error as NSError
    if bridged.domain == NSPOSIXErrorDomain { return Int32(bridged.code) }
    return (bridged.userInfo[NSUnderlyingErrorKey] as? any Error).flatMap(errorNumber)
  }
}
