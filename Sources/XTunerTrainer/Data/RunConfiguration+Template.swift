import Foundation
import XTunerConfiguration
import XTunerTokenizers

extension RunConfiguration {
  /// The chat template of the run: the one that `data.template` names, else that of the tokenizer's or
  /// the model's folder, else Qwen3's, since both families that can be built are Qwen3.
  ///
  /// A folder with a text of no family known here leaves it open: only conversations need one.
  ///
  /// - Parameter date: The day that gpt-oss is told, `YYYY-MM-DD`, unless `data.current_date` says
  ///   it; nil for today.
  /// - Returns: The template, or none, with the reason.
  /// - Throws: `ConfigurationError` for an unknown name, a file that cannot be read, or a value that
  ///   the template has no place for.
  func chatTemplate(on date: String? = nil) throws(ConfigurationError) -> ChatTemplateChoice {
    let choice: ChatTemplateChoice
    do throws(ChatTemplateError) {
      choice = try ChatTemplateChoice(
        named: data.template, folders: templateFolders, fallback: "qwen3")
    } catch {
      throw self.error(at: "data.template", error.description)
    }
    let isOpen = choice.template == nil
    let hasPlace = choice.template?.currentDate != nil
    for (key, isSet) in [
      ("data.current_date", data.currentDate != nil),
      ("data.reasoning_effort", data.reasoningEffort != nil),
    ] where isSet && !hasPlace && !isOpen {
      throw self.error(
        at: key,
        "must be left out: chat template \(choice.template?.name ?? "") has no place for it; only "
          + "those of gpt-oss have")
    }
    return choice.configured(
      currentDate: data.currentDate ?? date,
      reasoningEffort: data.reasoningEffort.flatMap { ReasoningEffort(rawValue: $0.rawValue) })
  }

  /// The folders that may bring a template: the tokenizer's first, to which it belongs.
  private var templateFolders: [String] {
    var folders: [String] = []
    for path in [tokenizer.path, model.path].compactMap(\.self) {
      var isFolder: ObjCBool = false
      guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else { continue }
      let folder =
        isFolder.boolValue ? path : URL(fileURLWithPath: path).deletingLastPathComponent().path
      if !folders.contains(where: { $0.utf8.elementsEqual(folder.utf8) }) { folders.append(folder) }
    }
    return folders
  }

  /// Which template conversations are rendered by and why, for people.
  func note(on choice: ChatTemplateChoice) -> String {
    guard let template = choice.template else { return "no chat template: \(choice.reason)" }
    let date = template.currentDate.map { ", which tells the date \($0)" } ?? ""
    return "chat template \(template.name)\(date): \(choice.reason)"
  }
}
