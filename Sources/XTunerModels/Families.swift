/// The one list of families: adding one is adding its folder and its names here.
extension ModelFamily: CaseIterable {
  /// Every family.
  public static let allCases: [ModelFamily] = [.qwen3, .qwen3MoE]
}

extension ModelPreset {
  /// Every published model, smallest first in each family, each followed by its variants.
  public static let all: [ModelPreset] = qwen3 + qwen3MoE
}
