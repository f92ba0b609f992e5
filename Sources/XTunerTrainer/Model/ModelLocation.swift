import Foundation
public import XTunerConfiguration
import XTunerInput
import XTunerModels
public import XTunerRun

/// Where a model or tokenizer lies that a person has named.
///
/// Besides a folder this may be a run directory, which means its export, or a name of the Hugging
/// Face Hub, which means what its tools have put into their cache on this machine.
public struct ModelLocation: Sendable {
  private let cache: HubCache

  /// Looks into the Hub's cache that these variables of the process describe, as the Hub's own tools do.
  public init(environment: [String: String]) {
    cache = HubCache(environment: environment)
  }

  /// The folder or file that `name` means.
  ///
  /// - Returns: `name` itself where it is there and no run directory.
  /// - Throws: ``TrainingError`` that says how to get what is missing.
  public func path(of name: String) throws(TrainingError) -> String {
    if let found = try Self.existing(name) { return found }
    if let hub = HubName(name, expecting: .model), let snapshot = cache.snapshot(of: hub) {
      return snapshot
    }
    throw Self.absence(of: name)
  }

  /// What lies at a path: a run directory stands for its export; nil where there is nothing.
  static func existing(_ path: String) throws(TrainingError) -> String? {
    let manager = FileManager.default
    guard manager.fileExists(atPath: path) else { return nil }
    let run = RunLayout(root: path)
    guard isRun(run) else { return try checkedCheckpoint(path) }
    guard manager.fileExists(atPath: "\(run.export)/config.json") else {
      throw TrainingError(
        .model,
        """
        \(path): is a run directory without an export; write its newest checkpoint as a model \
        folder with `xtuner export \(path) --to DIR`, and give that
        """)
    }
    return run.export
  }

  /// What to say where there is nothing: the command that fetches a model.
  static func absence(of name: String) -> TrainingError {
    let last = URL(fileURLWithPath: name).lastPathComponent
    let hub = HubName(name, expecting: .model)
    var text = "\(name): there is no such folder here"
    if hub != nil { text += ", and no such model in the Hub's cache" }
    if let preset = ModelPreset.named(last) {
      let repository = "Qwen/\(preset.name)"
      let folder = hub?.repository == repository ? "" : " --local-dir \(name)"
      text += "; `hf download \(repository)\(folder)` fetches it"
    } else if let hub {
      text += "; `\(hub.downloadCommand)` fetches it, if that is its name on the Hugging Face Hub"
    } else {
      text += "; `hf download ORG/NAME --local-dir DIR` fetches a model"
    }
    return TrainingError(.model, text)
  }

  /// The folder of a data set that the Hub's tools have fetched; any other path as it is.
  public func dataPath(of name: String) -> String {
    guard !FileManager.default.fileExists(atPath: name),
      let hub = HubName(name, expecting: .dataset), let snapshot = cache.snapshot(of: hub)
    else { return name }
    return snapshot
  }

  /// Whether a folder is one that a run wrote, and no model.
  private static func isRun(_ run: RunLayout) -> Bool {
    let manager = FileManager.default
    return manager.fileExists(atPath: run.configuration)
      && !manager.fileExists(atPath: "\(run.root)/config.json")
  }

  private static func checkedCheckpoint(_ path: String) throws(TrainingError) -> String {
    let run = URL(fileURLWithPath: path).deletingLastPathComponent().deletingLastPathComponent()
    let manager = FileManager.default
    guard isRun(RunLayout(root: run.path)), !manager.fileExists(atPath: "\(path)/config.json"),
      URL(fileURLWithPath: path).lastPathComponent.hasPrefix("step-")
    else { return path }
    throw TrainingError(
      .model,
      """
      \(path): is a checkpoint of a run; write it as a model folder with \
      `xtuner export \(path) --to DIR`, and give that
      """)
  }
}

extension RunConfiguration {
  /// The configuration with names of the Hub and run directories replaced by the folders that they
  /// mean on this machine; what is not there stays as it is.
  public func located(_ location: ModelLocation) -> RunConfiguration {
    var result = self
    result.model.path = model.path.map { (try? location.path(of: $0)) ?? $0 }
    result.tokenizer.path = tokenizer.path.map { (try? location.path(of: $0)) ?? $0 }
    for index in data.train.indices {
      result.data.train[index].path = location.dataPath(of: data.train[index].path)
    }
    for index in data.evaluation.indices {
      result.data.evaluation[index].path = location.dataPath(of: data.evaluation[index].path)
    }
    return result
  }

  /// Refuses a path of a model or tokenizer that is not there, with what would help; `keyPath` is the
  /// option that names it, such as `model.path`.
  func checkPresence(_ keyPath: String, _ path: String) throws(TrainingError) {
    do throws(TrainingError) {
      guard try ModelLocation.existing(path) == nil else { return }
    } catch {
      throw TrainingError(.model, problem(at: keyPath, error.description).description)
    }
    throw TrainingError(
      .model, problem(at: keyPath, ModelLocation.absence(of: path).description).description)
  }
}
