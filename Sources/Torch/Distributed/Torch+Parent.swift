import CTorch

extension Torch {
  /// Makes the kernel kill this process when the thread that started it ends.
  ///
  /// That thread must live as long as the parent means its children to: its main thread, or one that
  /// waits for them. Does nothing where the kernel is not Linux; a parent that has ended before is not noticed.
  public static func exitWithParent() { _ = ct_exit_with_parent() }
}
