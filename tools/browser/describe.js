// What a control would do, read in one turn: (element, null) returns the description as JSON text. It is read in a
// world of its own, where nothing that the page redefines is seen. With `expected`,
// the description that was judged, it presses the control in the same turn if nothing has changed since.
// Form data is collected by the browser itself. Prototype methods are called because a field that is named
// "action" or "submit" hides the form's own. A page can still lie here: what is sent is compared on its way out.
(element, expected) => {
  const attribute = (node, name) => Element.prototype.getAttribute.call(node, name);
  const absolute = (text) => { try { return new URL(text ?? "", document.baseURI).href; } catch { return ""; } };
  let control = element.closest("a[href], area[href], button, input, select, textarea, summary, label") || element;
  if (control.localName === "label" && control.control) control = control.control;
  const form = control.localName === "label" ? null : control.form;
  const sends = (node) => ["button", "input"].includes(node.localName) && ["submit", "image"].includes(node.type);
  const owned = form instanceof HTMLFormElement
    ? [...control.getRootNode().querySelectorAll("button, input, select, textarea")].filter((node) => node.form === form) : [];
  // Without a submit button, Enter in a field sends the form.
  const implicit = owned.length > 0 && control.localName === "input" && !sends(control) && !owned.some(sends)
    && !["button", "reset", "checkbox", "radio", "file"].includes(control.type);
  const submits = owned.length > 0 && (implicit || (sends(control) && !control.disabled));
  const own = (name) => (!implicit && attribute(control, "form" + name) !== null ? attribute(control, "form" + name)
    : attribute(form, name));
  const entries = submits ? [...(implicit ? new FormData(form) : new FormData(form, control))] : [];
  const action = submits ? own("action") : null;
  const named = (type) => owned.filter((node) => node.type === type && node.name).map((node) => node.name);
  const said = JSON.stringify({
    url: document.URL,
    tag: control.localName,
    type: typeof control.type === "string" ? control.type : "",
    text: (control.innerText || "").replace(/\s+/g, " ").trim().slice(0, 100),
    href: control.matches("a, area") ? absolute(attribute(control, "href")) : null,
    scripted: control.matches("a, area") && /^\s*#/.test(attribute(control, "href")),
    download: control.matches("a, area") && attribute(control, "download") !== null,
    editable: control.isContentEditable === true,
    code: (attribute(control, "autocomplete") || "").toLowerCase().split(/\s+/).includes("one-time-code"),
    locked: control.disabled === true || control.readOnly === true,
    options: control.localName === "select" ? [...control.options].flatMap((o) => [o.label, o.value]) : [],
    submits,
    method: submits ? (own("method") || "get").toLowerCase() : "",
    action: submits ? (action ? absolute(action) : document.URL) : "",
    enctype: submits ? (own("enctype") || "").toLowerCase() : "",
    charset: (submits && attribute(form, "accept-charset")) || document.characterSet,
    fields: entries.map(([name, value]) => [name, typeof value === "string" ? value : ""]),
    files: entries.some(([, value]) => typeof value !== "string" && value.size > 0),
    hidden: named("hidden"),
    passwords: named("password"),
    submitter: submits && !implicit ? control.name : "",
  });
  if (expected === null) return said;
  if (said !== expected) return "changed";
  const checked = attribute(form, "novalidate") === null && attribute(control, "formnovalidate") === null;
  if (checked && !HTMLFormElement.prototype.checkValidity.call(form)) {
    return "invalid:" + owned.filter((node) => !node.validity.valid).map((node) => node.name).join(", ").slice(0, 200);
  }
  if (implicit) HTMLFormElement.prototype.requestSubmit.call(form);
  else HTMLElement.prototype.click.call(control);
  return "pressed";
}
