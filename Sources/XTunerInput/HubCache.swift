import Foundation

/// Where `hf download` and transformers keep what they have fetched from the Hugging Face Hub.
///
/// A repository is a folder `models--ORGANISATION--NAME`; `refs/main` names a commit, and
/// `snapshots/COMMIT` holds its files. Nothing is fetched here.
package struct HubCache: Sendable {
  /// The folder of all repositories.
  package let folder: String

  /// The cache in a folder.
  package init(folder: String) {
    self.folder = folder
  }

  /// The cache where the Hub's own tools look for it: `HF_HUB_CACHE`, `hub` in `HF_HOME`, or below
  /// `XDG_CACHE_HOME` or `~/.cache`.
  package init(environment: [String: String]) {
    func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    let home =
      value("HOME") ?? FileManager.default.homeDirectoryForCurrentUser.path(percentEncoded: false)
    let cache = value("XDG_CACHE_HOME") ?? "\(home)/.cache"
    let hub = value("HF_HOME") ?? "\(cache)/huggingface"
    folder = value("HF_HUB_CACHE") ?? value("HUGGINGFACE_HUB_CACHE") ?? "\(hub)/hub"
  }

  /// The folder with a repository's files; nil where the cache does not have them.
  package func snapshot(of name: HubName) -> String? {
    let parts = name.repository.replacing("/", with: "--")
    let repository = "\(folder)/\(name.kind.rawValue)s--\(parts)"
    let snapshots = "\(repository)/snapshots"
    let reference = "\(repository)/refs/\(name.revision)"
    let commit = (try? String(contentsOfFile: reference, encoding: .utf8))
      .map { $0.trimmingCharacters(in: .whitespacesAndNewlines) }
    let path = "\(snapshots)/\(commit ?? name.revision)"
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue
    else { return nil }
    return path
  }
}
