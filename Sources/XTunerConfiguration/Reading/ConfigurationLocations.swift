import XTunerText

/// Where the settings of a configuration were given, for checks that come after loading.
package struct ConfigurationLocations: Sendable {
  package var file = "configuration"
  /// `FILE:LINE` or `--set KEY=VALUE` by key path.
  var given: [ExactText: String] = [:]

  /// The entry of a key path, or of the closest section around it that has one.
  static func nearest<Value>(to keyPath: String, in entries: [ExactText: Value]) -> Value? {
    var path = Substring(keyPath)
    while true {
      if let entry = entries[String(path)] { return entry }
      guard let cut = path.lastIndex(where: { $0 == "." || $0 == "[" }) else { return nil }
      path = path[..<cut]
    }
  }
}

extension ConfigurationLocations: Equatable {
  /// Always true: where a setting was given is no part of a configuration's value.
  package static func == (left: Self, right: Self) -> Bool { true }
}

extension RunConfiguration {
  /// An error about a setting that only another module can check, with the place it was given.
  ///
  /// - Parameters:
  ///   - keyPath: Dotted path of the setting, such as `data.template` or `data.train[0].path`.
  ///   - reason: What is wrong and what would be accepted, with the actual value.
  /// - Returns: The error to throw.
  public func error(at keyPath: String, _ reason: String) -> ConfigurationError {
    ConfigurationError(file: locations.file, problems: [problem(at: keyPath, reason)])
  }

  /// One problem for an error that collects several, as ``error(at:_:)`` makes.
  ///
  /// - Parameters:
  ///   - keyPath: Dotted path of the setting.
  ///   - reason: What is wrong and what would be accepted, with the actual value.
  /// - Returns: The problem with its place.
  public func problem(at keyPath: String, _ reason: String) -> ConfigurationError.Problem {
    let place = ConfigurationLocations.nearest(to: keyPath, in: locations.given)
    return .init(location: place ?? locations.file, keyPath: keyPath, reason: reason)
  }
}
