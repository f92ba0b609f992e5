extension RunConfiguration {
  /// The resolved configuration as one JSON object with a member a section.
  ///
  /// - Parameter indent: Spaces a level, or `nil` for one line.
  /// - Returns: JSON text without a final line break.
  public func json(indent: Int? = nil) -> String {
    let sections = Self.sections.map { section in
      ConfigurationValue.Entry(section.name, .mapping(section.encode(self)))
    }
    return ConfigurationValue.mapping(sections).json(indent: indent)
  }
}
