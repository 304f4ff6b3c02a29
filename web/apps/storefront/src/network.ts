/** The page's one door to the network, and the switch that closes it. */

type Listener = (online: boolean) => void;

const listeners = new Set<Listener>();
let allowed = true;
let reachable = navigator.onLine;

/** Whether the page may use the network and has one. */
export function isOnline(): boolean {
  return allowed && reachable;
}

/** Whether the visitor has closed the door. */
export function isClosed(): boolean {
  return !allowed;
}

/** Open or close the door: closed, the page sends and asks for nothing. */
export function allowNetwork(allow: boolean): void {
  changed(() => (allowed = allow));
}

/** Note whether the last request reached the server. */
export function noteReachable(reached: boolean): void {
  changed(() => (reachable = reached));
}

/** Call `listener` when the page goes online or offline. */
export function onNetworkChange(listener: Listener): void {
  listeners.add(listener);
}

function changed(change: () => void): void {
  const before = isOnline();
  change();
  if (isOnline() !== before) for (const listener of listeners) listener(isOnline());
}

addEventListener("offline", () => noteReachable(false));
addEventListener("online", () => noteReachable(true));
