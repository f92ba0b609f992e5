import Foundation
import Testing
import XTunerTokenizers

/// Files of `Fixtures`, written by scripts/tokenizers_reference.py.
enum Fixture {
  struct Case: Decodable, Sendable {
    var text: String
    var ids: [Int32]
    var withSpecial: [Int32]
    var decoded: String
    var decodedSkipping: String
  }

  static func path(_ name: String) throws -> String {
    let folder = try #require(Bundle.module.resourceURL)
    return folder.appendingPathComponent("Fixtures/\(name)").path
  }

  static func data(_ name: String) throws -> Data {
    try Data(contentsOf: URL(fileURLWithPath: path(name)))
  }

  static func cases(_ folder: String) throws -> [Case] {
    try JSONDecoder().decode([Case].self, from: data("\(folder)/cases.json"))
  }

  /// A fresh folder below the system's temporary folder.
  static func temporaryFolder() throws -> String {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    return url.path
  }
}
