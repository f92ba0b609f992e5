import Foundation
import XTunerText
import XTunerInput

/// Everything a training run is asked to do, checked and resolved.
///
/// A value of this type comes out of ``load(file:overrides:)`` and is frozen from then on: every
/// option holds a usable value, and those whose default depends on others are filled in.
public struct RunConfiguration: Sendable, Equatable {
  /// Identity and reproducibility.
  public var run = RunOptions()
  /// Architecture, weights and compute type.
  public var model = ModelOptions()
  /// How text becomes tokens.
  public var tokenizer = TokenizerOptions()
  /// Sources, packing and unusable samples.
  public var data = DataOptions()
  /// Length, batch and memory.
  public var training = TrainingOptions()
  /// How processes share the work.
  public var parallel = ParallelOptions()
  /// The update rule.
  public var optimizer = OptimizerOptions()
  /// How the learning rate changes.
  public var schedule = LearningRateOptions()
  /// What is minimised.
  public var loss = LossOptions()
  /// When the held-out loss is taken.
  public var evaluation = EvaluationOptions()
  /// What a run can be resumed from.
  public var checkpoint = CheckpointOptions()
  /// The Hugging Face folder at the end.
  public var export = ExportOptions()
  /// What is shown and recorded.
  public var logging = LoggingOptions()

  /// Where the settings were given.
  package var locations = ConfigurationLocations()

  /// Creates a configuration of defaults, which names no model and no data yet.
  public init() {}

  /// Reads, checks and resolves a configuration.
  ///
  /// - Parameters:
  ///   - file: Path of a YAML file.
  ///   - overrides: The texts after `--set`, such as `training.steps=100`, applied in order.
  /// - Returns: A configuration without problems.
  /// - Throws: Every problem of the file and of the overrides in one error. Files that the
  ///   configuration names are not looked at here.
  public static func load(
    file: String, overrides: [String] = []
  ) throws(ConfigurationError) -> RunConfiguration {
    try parse(try text(of: file), file: file, overrides: overrides)
  }

  /// Checks and resolves a configuration that has been read already.
  ///
  /// - Parameters:
  ///   - text: The YAML.
  ///   - file: The name for error messages; its stem is the default of `run.name`.
  ///   - overrides: The texts after `--set`, applied in order.
  /// - Returns: A configuration without problems.
  /// - Throws: Every problem of the text and of the overrides in one error.
  public static func parse(
    _ text: String, file: String, overrides: [String] = []
  ) throws(ConfigurationError) -> RunConfiguration {
    var problems = ConfigurationProblems(file: file, overrides: overrides)
    guard let root = Self.tree(text, overrides, &problems) else { throw problems.error }
    var configuration = decoded(from: root, &problems)
    configuration.check(&problems)
    guard problems.isEmpty else { throw problems.error }
    configuration.resolve(fileName: file)
    configuration.locations = problems.locations
    return configuration
  }

  /// A configuration of every option with comments has 20 kB.
  private static let sizeLimit = 4 << 20

  /// Reads the file as UTF-8.
  private static func text(of file: String) throws(ConfigurationError) -> String {
    func failure(_ reason: String) -> ConfigurationError {
      .init(file: file, problems: [.init(location: file, keyPath: "", reason: reason)])
    }
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: file, isDirectory: &isFolder) else {
      throw failure("no such file; give the path of a YAML configuration")
    }
    guard !isFolder.boolValue else {
      throw failure("is a folder; give the path of a YAML configuration")
    }
    // Not the whole of it at once: a device has no end.
    let data: Data
    do {
      let reader = try FileHandle(forReadingFrom: URL(fileURLWithPath: file))
      data = try reader.read(upToCount: sizeLimit + 1) ?? Data()
    } catch {
      throw failure("cannot be read; check its permissions")
    }
    guard data.count <= sizeLimit else {
      throw failure("has more than \(sizeLimit >> 20) MiB; give a YAML configuration")
    }
    // Editors on Windows begin a file with a byte order mark, which the parser takes for text.
    let hasMark = data.starts(with: [0xEF, 0xBB, 0xBF])
    guard let text = String(validating: data.dropFirst(hasMark ? 3 : 0), as: UTF8.self) else {
      throw failure("is not UTF-8; save the file in that encoding")
    }
    return text
  }

  /// The parsed file with the overrides written into it; `nil` for a file that is not YAML.
  private static func tree(
    _ text: String, _ overrides: [String], _ problems: inout ConfigurationProblems
  ) -> ConfigurationNode? {
    var root = ConfigurationNode(content: .mapping([]), origin: .file)
    do throws(ConfigurationParser.Failure) {
      if let parsed = try ConfigurationParser.parse(text, origin: { .line($0) }), !parsed.isNull {
        guard case .mapping = parsed.content else {
          throw ConfigurationParser.Failure(
            origin: parsed.origin,
            reason: "must be a mapping of sections such as model and data, is \(parsed.summary)")
        }
        root = parsed
      }
    } catch {
      problems.reject(error.keyPath, at: error.origin, error.reason)
      return nil
    }
    for (index, text) in overrides.enumerated() {
      do throws(ConfigurationParser.Failure) {
        root = try ConfigurationOverride(text, index: index).apply(to: root)
      } catch {
        problems.reject(error.keyPath, at: error.origin, error.reason)
      }
    }
    return root
  }

  private static func decoded(
    from root: ConfigurationNode, _ problems: inout ConfigurationProblems
  ) -> RunConfiguration {
    var configuration = RunConfiguration()
    guard case .mapping(let entries) = root.content else { return configuration }
    for entry in entries {
      guard let section = sections.first(where: { $0.name == entry.key }) else {
        problems.rejectUnknownKey(
          entry.key, section: "", at: entry.origin, unknownSectionHint(entry.key))
        continue
      }
      problems.note(entry.key, givenAt: entry.origin)
      section.decode(entry.value, &configuration, &problems)
    }
    return configuration
  }

  private static func unknownSectionHint(_ key: String) -> String {
    let names = sections.map(\.name)
    if let meant = Spelling.suggestion(for: key, among: names) {
      return "unknown section; did you mean \(meant)?"
    }
    let paths = sections.filter { $0.keys.contains(key) }.map { "\($0.name).\(key)" }
    if !paths.isEmpty {
      return "unknown section; did you mean \(paths.joined(separator: " or "))?"
    }
    return "unknown section; known here: \(names.joined(separator: ", "))"
  }

  /// Fills in the defaults that depend on other options.
  private mutating func resolve(fileName: String) {
    let stem = URL(fileURLWithPath: fileName).deletingPathExtension().lastPathComponent
    if run.name.isEmpty { run.name = stem.isEmpty ? "run" : stem }
    run.directory = run.directory ?? "runs/\(run.name)"
    model.weights = model.weights ?? (model.path == nil ? .random : .load)
    tokenizer.path = tokenizer.path ?? model.path
    var taken = Set<ExactText>(data.train.compactMap(\.name))
    data.train = data.train.map { Self.named($0, &taken) }
    taken = Set(data.evaluation.compactMap(\.name).map { ExactText($0) })
    data.evaluation = data.evaluation.map { Self.named($0, &taken) }
  }

  /// Names a source after its path, with a number where the name is taken.
  private static func named(
    _ source: DataOptions.Source, _ taken: inout Set<ExactText>
  ) -> DataOptions.Source {
    guard source.name == nil else { return source }
    var stem = URL(fileURLWithPath: source.path).lastPathComponent
    for suffix in [".gz", ".zst", ".jsonl", ".json", ".txt"] where stem.hasSuffix(suffix) {
      stem.removeLast(suffix.count)
    }
    if stem.isEmpty || stem == "/" { stem = "source" }
    var name = stem
    var number = 2
    while !taken.insert(name).inserted {
      name = "\(stem)-\(number)"
      number += 1
    }
    var result = source
    result.name = name
    return result
  }
}
