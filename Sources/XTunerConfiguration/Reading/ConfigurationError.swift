import XTunerText

/// A run configuration that cannot be used, with everything that is wrong with it.
///
/// Loading collects every problem before throwing, so that one launch reports all of them.
public struct ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
  /// One rejected setting.
  public struct Problem: Sendable, Hashable, CustomStringConvertible {
    /// Where the setting was given: `FILE:LINE`, `FILE`, or `--set KEY=VALUE`.
    public var location: String
    /// Dotted path of the setting, such as `training.packs_per_step`; empty for a file that cannot
    /// be read at all.
    public var keyPath: String
    /// What is wrong and what would be accepted, with the actual value.
    public var reason: String

    /// Creates a problem for callers that check what this module cannot, such as model shapes.
    public init(location: String, keyPath: String, reason: String) {
      self.location = location
      self.keyPath = keyPath
      self.reason = reason
    }

    /// The problem in one line, `LOCATION: KEY: REASON`.
    public var description: String {
      keyPath.isEmpty ? "\(location): \(reason)" : "\(location): \(keyPath): \(reason)"
    }
  }

  /// The file the configuration was read from, as the caller named it.
  public var file: String
  /// Every rejected setting, in file order; problems of `--set` come after those of the file.
  public var problems: [Problem]

  /// Creates an error out of collected problems.
  public init(file: String, problems: [Problem]) {
    self.file = file
    self.problems = problems
  }

  /// One line per problem, ready for a terminal.
  public var description: String {
    problems.map(\.description).joined(separator: "\n")
  }

  /// The description, under the number of problems where there are several.
  package var listing: String {
    problems.count == 1 ? description : "\(problems.count) problems\n\(description)"
  }
}

/// Where a node of the configuration came from.
enum ConfigurationOrigin: Sendable, Hashable, Comparable {
  /// A line of the configuration file, counted from 1.
  case line(Int)
  /// The `--set` option with this position on the command line, counted from 0.
  case override(Int)
  /// Nothing in particular: a setting that is missing.
  case file
}

/// Collects problems while a configuration is decoded, and remembers where each key was given.
struct ConfigurationProblems {
  /// Nobody reads more; a file that is something else altogether has tens of thousands.
  private static let limit = 100

  package let file: String
  let overrides: [String]
  private var found: [(origin: ConfigurationOrigin, problem: ConfigurationError.Problem)] = []
  private var origins: [ExactText: ConfigurationOrigin] = [:]
  private var failed: Set<ExactText> = []
  private var sectionsWithUnknownKeys: Set<ExactText> = []
  private var unlistedCount = 0

  init(file: String, overrides: [String] = []) {
    self.file = file
    self.overrides = overrides
  }

  var isEmpty: Bool { found.isEmpty }

  /// Everything found so far as one error, in file order.
  var error: ConfigurationError {
    let ordered = found.enumerated().sorted { left, right in
      (left.element.origin, left.offset) < (right.element.origin, right.offset)
    }
    var problems = ordered.map(\.element.problem)
    if unlistedCount > 0 {
      problems.append(
        .init(location: file, keyPath: "", reason: "\(unlistedCount) more problems are not listed"))
    }
    return ConfigurationError(file: file, problems: problems)
  }

  mutating func note(_ keyPath: String, givenAt origin: ConfigurationOrigin) {
    origins[keyPath] = origin
  }

  /// Rejects the value at `keyPath`; later checks that involve the key stay silent.
  mutating func reject(
    _ keyPath: String, at origin: ConfigurationOrigin? = nil, _ reason: String
  ) {
    failed.insert(keyPath)
    append(keyPath, origin ?? nearestOrigin(of: keyPath), reason)
  }

  mutating func rejectUnknownKey(
    _ keyPath: String, section: String, at origin: ConfigurationOrigin,
    _ reason: @autoclosure () -> String
  ) {
    sectionsWithUnknownKeys.insert(section)
    append(keyPath, origin, reason())
  }

  /// Rejects a combination of settings, unless one of them has been rejected by itself already.
  mutating func check(
    _ keyPath: String, involving others: [String] = [], _ isValid: Bool,
    _ reason: @autoclosure () -> String
  ) {
    guard !isValid, ([keyPath] + others).allSatisfy({ !hasFailed($0) }) else { return }
    append(keyPath, nearestOrigin(of: keyPath), reason())
  }

  /// Rejects a missing setting, unless a key beside it is unknown: then it is likely misspelt.
  mutating func require(
    _ keyPath: String, in section: String, involving others: [String] = [], _ isPresent: Bool,
    _ reason: @autoclosure () -> String
  ) {
    guard !sectionsWithUnknownKeys.contains(section), !hasFailed(section) else { return }
    check(keyPath, involving: others, isPresent, reason())
  }

  private func hasFailed(_ keyPath: String) -> Bool {
    failed.contains { $0.text.isExactly(keyPath) || $0.text.hasPrefix("\(keyPath)[") }
  }

  /// Where every given key stands.
  package var locations: ConfigurationLocations {
    .init(file: file, given: origins.mapValues { location(of: $0) })
  }

  private mutating func append(
    _ keyPath: String, _ origin: ConfigurationOrigin, _ reason: @autoclosure () -> String
  ) {
    guard found.count < Self.limit else {
      unlistedCount += 1
      return
    }
    found.append(
      (origin, .init(location: location(of: origin), keyPath: keyPath, reason: reason())))
  }

  private func location(of origin: ConfigurationOrigin) -> String {
    switch origin {
    case .line(let line): "\(file):\(line)"
    case .override(let index): "--set \(overrides[index])"
    case .file: file
    }
  }

  /// The origin of the key itself, or of the closest section that was given.
  private func nearestOrigin(of keyPath: String) -> ConfigurationOrigin {
    ConfigurationLocations.nearest(to: keyPath, in: origins) ?? .file
  }
}

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
