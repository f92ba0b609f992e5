import Foundation

/// What the system said when it refused something, in its own words.
public enum SystemReason {
  /// The reason of a failed operation, without the name of the file.
  ///
  /// Foundation wraps what the system said into codes of its own, which help nobody.
  ///
  /// - Returns: Such as `No such file or directory`; the error's own description where no system call
  ///   is behind it.
  public static func text(_ error: any Error) -> String {
    if let number = errorNumber(error) { return words(number) }
    guard let error = error as? CocoaError else {
      let text = "\(error)"
      return text.contains("NSCocoaErrorDomain") ? "the system refuses it" : text
    }
    switch error.code {
    case .fileNoSuchFile, .fileReadNoSuchFile: return words(ENOENT)
    case .fileReadNoPermission, .fileWriteNoPermission: return words(EACCES)
    case .fileWriteOutOfSpace: return words(ENOSPC)
    case .fileWriteVolumeReadOnly: return words(EROFS)
    case .fileWriteFileExists: return words(EEXIST)
    case .fileReadTooLarge: return words(EFBIG)
    case .fileReadInapplicableStringEncoding, .fileReadUnknownStringEncoding: return "is not UTF-8"
    case .fileReadInvalidFileName, .fileWriteInvalidFileName: return "is no possible file name"
    case .fileReadUnknown: return "the system refuses to read it"
    default: return "the system refuses it"
    }
  }

  /// The number behind an error, through as many layers as there are.
  static func errorNumber(_ error: any Error) -> Int32? {
    if let error = error as? POSIXError { return error.code.rawValue }
    if let error = error as? CocoaError, let cause = error.underlying { return errorNumber(cause) }
    let bridged = error as NSError
    if bridged.domain == NSPOSIXErrorDomain { return Int32(exactly: bridged.code) }
    return (bridged.userInfo[NSUnderlyingErrorKey] as? any Error).flatMap(errorNumber)
  }

  private static func words(_ number: Int32) -> String {
    let words = strerror(number).map { String(cString: $0) } ?? "error \(number)"
    return number == EMFILE ? "\(words); raise the limit of open files (ulimit -n)" : words
  }
}
