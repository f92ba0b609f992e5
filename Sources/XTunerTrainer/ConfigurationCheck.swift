import Foundation
import XTunerCheckpoint
public import XTunerConfiguration
import XTunerData
import XTunerLaunch
import XTunerModels
import XTunerParallel
import XTunerRun
import XTunerTokenizers

/// A dry run: everything that a configuration names is opened and compared, and nothing is written.
///
/// No weights are read, and of the data the first records; a record that is broken further on is
/// found when the data is tokenised.
public struct ConfigurationCheck {
  /// Records of a source that are read, rendered and tokenised.
  public static let recordLimit = 200

  /// Everything that is wrong, each with the place of its option.
  public private(set) var problems: [ConfigurationError.Problem] = []
  /// What was found, a label and a sentence each.
  public private(set) var findings: [(label: String, value: String)] = []
  private let configuration: RunConfiguration

  /// Checks a configuration that has been loaded, and so has no problems of its own.
  public init(_ configuration: RunConfiguration) {
    self.configuration = configuration
    let model = checkModel()
    if let model { checkLayout(model) }
    let tokenizer = checkTokenizer(model)
    let choice = attempt("data.template") { try configuration.chatTemplate() }
    checkData(tokenizer, choice, model)
    attempt("run.device") { _ = try configuration.device(localRank: 0) }
    checkRunDirectory()
  }

  // MARK: - Parts

  private mutating func checkModel() -> ModelConfiguration? {
    let configuration = configuration
    let options = configuration.model
    if let path = options.path, !isPresent("model.path", path) { return nil }
    let key = options.path != nil ? "path" : options.preset != nil ? "preset" : "architecture"
    guard let model = attempt("model.\(key)", { try configuration.modelConfiguration() }) else {
      return nil
    }
    var text = "\(NumberFormat.si(Double(model.facts.parameterCount))) parameters"
    if options.weights == .load, let path = options.path {
      attempt("model.path") {
        let folder = try HFCheckpointFolder(path: path)
        try HFWeights.check(folder, model)
        text += ", \(folder.entries.count) tensors in \(Self.count(folder.files.count, "file"))"
      }
    } else {
      text += ", from random weights"
    }
    findings.append(("model", text))
    return model
  }

  /// The smallest number of processes that the degrees allow must suit the model.
  private mutating func checkLayout(_ model: ModelConfiguration) {
    let configuration = configuration
    let parallel = configuration.parallel
    let experts = parallel.expert.multipliedReportingOverflow(by: parallel.expertTensor)
    guard !experts.overflow, experts.partialValue <= 1 << 20 else { return }
    let copy = (1...parallel.sequence).lazy.map { experts.partialValue * $0 }
      .first { $0.isMultiple(of: parallel.sequence) }
    guard let copy, copy <= 1 << 20, parallel.replicate <= 1 << 20 else { return }
    attempt("parallel") {
      _ = try configuration.parallelLayout(worldSize: parallel.replicate * copy, model: model)
    }
  }

  private mutating func checkTokenizer(_ model: ModelConfiguration?) -> Tokenizer? {
    // A tokenizer beside a model that is not there is missing with it: that is said already.
    guard let path = configuration.tokenizer.path,
      !problems.contains(where: { $0.keyPath == "model.path" && path == configuration.model.path }),
      isPresent("tokenizer.path", path),
      let tokenizer = attempt("tokenizer.path", { try Tokenizer(path: path) })
    else { return nil }
    findings.append(("tokenizer", "\(tokenizer.vocabularySize) ids"))
    if let model {
      let configuration = configuration
      attempt("tokenizer.path") {
        try model.checkVocabulary(of: tokenizer)
        if configuration.model.path != nil {
          try configuration.checkEndTokens(of: model, tokenizer)
        }
      }
    }
    return tokenizer
  }

  private mutating func checkData(
    _ tokenizer: Tokenizer?, _ choice: ChatTemplateChoice?, _ model: ModelConfiguration?
  ) {
    let configuration = configuration
    // Without a tokenizer or template records are read all the same.
    var samples: SampleTokenizer?
    if let tokenizer, let choice {
      let options = attempt("data.end_of_document") {
        try PreparedData.tokenizingOptions(configuration, tokenizer, model: model)
      }
      samples = options.map {
        SampleTokenizer(
          options: $0, tokenizer: tokenizer, template: choice.template,
          templateAdvice: choice.advice)
      }
    }
    let policy = ErrorPolicy(configuration.data.onError)
    for (key, sources) in [
      ("data.train", configuration.data.train), ("data.evaluation", configuration.data.evaluation),
    ] {
      for (index, source) in sources.enumerated() {
        let records = RecordSource(
          source, maximumRecordSize: configuration.data.maxRecordBytes)
        let found = attempt("\(key)[\(index)].path") {
          try Self.found(in: records, samples, onError: policy)
        }
        if let found { findings.append((key, found)) }
      }
    }
  }

  /// Reads the first records of a source, and tokenises them where that is possible.
  private static func found(
    in source: RecordSource, _ samples: SampleTokenizer?, onError policy: ErrorPolicy
  ) throws -> String {
    let reader = try RecordReader(source: source, onError: policy)
    var count = 0
    var isAtEnd = false
    while count < recordLimit {
      guard let record = try reader.next() else {
        isAtEnd = true
        break
      }
      _ = try samples?.tokenize(record)
      count += 1
    }
    let read = isAtEnd ? self.count(count, "record") : "the first \(count) records"
    return """
      \(source.name): \(Self.count(reader.files.count, "file")), \(read) of format \
      \(reader.format.rawValue)
      """
  }

  /// The nearest folder that is there must allow files in it.
  private mutating func checkRunDirectory() {
    guard let directory = configuration.run.directory else { return }
    let manager = FileManager.default
    var folder = URL(fileURLWithPath: directory).standardizedFileURL
    while !manager.fileExists(atPath: folder.path), folder.path != "/" {
      folder.deleteLastPathComponent()
    }
    var isFolder: ObjCBool = false
    _ = manager.fileExists(atPath: folder.path, isDirectory: &isFolder)
    if !isFolder.boolValue {
      add("run.directory", "must be a folder, but \(folder.path) is a file")
    } else if access(folder.path, W_OK) != 0 {
      add("run.directory", "nothing can be written in \(folder.path), as its permissions are")
    }
  }

  // MARK: - Problems

  private mutating func isPresent(_ keyPath: String, _ path: String) -> Bool {
    do throws(TrainingError) {
      if try ModelLocation.existing(path) != nil { return true }
      add(keyPath, ModelLocation.absence(of: path).description)
    } catch {
      add(keyPath, error.description)
    }
    return false
  }

  /// The result of a part, or nil and a problem of the option that it is about.
  @discardableResult
  private mutating func attempt<Result>(
    _ keyPath: String, _ body: () throws -> Result
  ) -> Result? {
    do {
      return try body()
    } catch let error as ConfigurationError {
      for problem in error.problems where !problems.contains(problem) { problems.append(problem) }
    } catch {
      add(keyPath, "\(error)")
    }
    return nil
  }

  private mutating func add(_ keyPath: String, _ reason: String) {
    let problem = configuration.problem(at: keyPath, reason)
    if !problems.contains(problem) { problems.append(problem) }
  }

  private static func count(_ count: Int, _ noun: String) -> String {
    "\(count) \(noun)\(count == 1 ? "" : "s")"
  }
}

extension RecordSource {
  /// The records of an option's source.
  init(_ source: DataOptions.Source, maximumRecordSize: Int) {
    self.init(
      paths: [source.path], name: source.name ?? source.path, format: DataFormat(source.format),
      maximumRecordSize: maximumRecordSize)
  }
}

extension RunConfiguration {
  /// Whether any source to train on has conversations, as its first records say.
  public var trainsOnConversations: Bool {
    data.train.contains { source in
      let records = RecordSource(source, maximumRecordSize: data.maxRecordBytes)
      guard let reader = try? RecordReader(source: records, onError: .skip) else { return false }
      return reader.format != .text
    }
  }
}
