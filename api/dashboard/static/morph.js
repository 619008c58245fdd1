// Writes new markup into an element: nodes that stand for the same thing stay the nodes they are, and with them the focus,
// what is opened and what is just being pressed. An element stands for another of its name if they hold a common id, or
// none of theirs is anywhere else; `hx-preserve` keeps an element as it is.

function morph(target, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  morphChildren(target, template.content);
}

function morphChildren(target, source) {
  const wantedIds = idsIn(source);
  for (const child of [...target.children]) if (child.id && !wantedIds.has(child.id)) child.remove();
  let place = target.firstChild;
  for (const wanted of [...source.childNodes]) {
    const same = counterpart(place, wanted, wantedIds);
    if (!same) { target.insertBefore(wanted, place); continue; }
    place = passOver(place, same, wantedIds);
    if (same === place) place = place.nextSibling;
    else target.insertBefore(same, place); // what stands before it is wanted further on
    morphNode(same, wanted);
  }
  while (place) { const next = place.nextSibling; place.remove(); place = next; }
}

// Remove what nobody wants, from `place` on up to `end`; returns the first node that stays.
function passOver(place, end, wantedIds) {
  while (place !== end && isFree(place, wantedIds)) { const next = place.nextSibling; place.remove(); place = next; }
  return place;
}

// The node from `place` on that stands for the same as the wanted one, or null.
function counterpart(place, wanted, wantedIds) {
  if (!(wanted instanceof Element)) return place?.nodeType === wanted.nodeType ? place : null;
  const ids = idsIn(wanted);
  for (let each = place; ids.size && each; each = each.nextSibling) {
    if (isAlike(each, wanted) && !isFree(each, ids)) return each;
  }
  let next = place;
  while (next && !(next instanceof Element)) next = next.nextSibling;
  return next && isAlike(next, wanted) && isFree(next, wantedIds) ? next : null;
}

function isAlike(there, wanted) {
  return there.nodeName === wanted.nodeName && there.id === wanted.id;
}

function isFree(node, wantedIds) {
  return [...idsIn(node)].every((id) => !wantedIds.has(id));
}

function idsIn(node) {
  const ids = new Set(node.id ? [node.id] : []);
  for (const each of node.querySelectorAll?.("[id]") ?? []) ids.add(each.id);
  return ids;
}

function morphNode(there, wanted) {
  if (!(there instanceof Element)) {
    if (there.data !== wanted.data) there.data = wanted.data;
    return;
  }
  if (there.matches("[hx-preserve]") || there.isEqualNode(wanted)) return;
  const isOpenedByHand = (name) => name === "open" && there.nodeName === "DETAILS";
  for (const { name } of [...there.attributes]) {
    if (!wanted.hasAttribute(name) && !isOpenedByHand(name)) there.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (there.getAttribute(name) !== value && !isOpenedByHand(name)) there.setAttribute(name, value);
  }
  morphChildren(there, wanted);
}
