/// A part of a model that owns parameters.
public protocol Module: AnyObject {
  /// Every parameter of this module and of its children, in a fixed order.
  var parameters: [Parameter] { get }
}
