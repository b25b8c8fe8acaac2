/** What was published to a topic. */
export interface Message {
  readonly topic: string;
  /** A string for text, bytes for binary. */
  readonly data: string | Uint8Array;
  /** The message's position in the topic's history; null if the topic has none. */
  readonly position: string | null;
}

/** A member of a topic: the name, and the info that the server gives of it. */
export interface Member {
  readonly member: string;
  readonly info: unknown;
}

/** A member that has joined or left a topic. */
export interface MemberEvent extends Member {
  readonly topic: string;
}

export interface SubscribeOptions {
  /** Begin with all messages that the server has kept of the topic. False by default. */
  history?: boolean;
  /** Begin after this position: one that `Subscription.position` had, perhaps on an earlier visit. */
  since?: string;
  /** See the members (`Subscription.members`, `onJoin`, `onLeave`), and be one. False by default. */
  presence?: boolean;
  /** Messages may be missing between the last one and the next: fetch the current state from elsewhere. */
  onGap?(topic: string): void;
  /** A member has joined, or its info has changed. Not called for those who were there before us. */
  onJoin?(event: MemberEvent): void;
  /** A member has left; `info` is its last one. */
  onLeave?(event: MemberEvent): void;
  /** The server has ended the subscription, or has closed the connection for good. */
  onEnd?(error: RoomsError): void;
}

/** A subscription. It outlives lost connections. */
export interface Subscription {
  readonly topic: string;
  /** The position of the last message; null if the topic keeps no history. */
  readonly position: string | null;
  /** The members and their infos, with the option `presence`; empty without. */
  readonly members: ReadonlyMap<string, unknown>;
  /** The same as `Rooms.unsubscribe` with this topic. */
  unsubscribe(): Promise<void>;
}

/** "connecting": there is no connection yet, or it was lost; "closed": there will be no further one. */
export type State = "connecting" | "open" | "closed";

export interface Options {
  /** The WebSocket class. By default the global one, which Node has from version 22: `import WebSocket from "ws"`. */
  WebSocket?: unknown;
  /** Called when the state has changed. There is an error unless the state is "open", or "closed" by `close`. */
  onState?(state: State, error?: RoomsError): void;
  /** The longest delay before the first reconnection, in milliseconds; 1000 by default. It doubles each time. */
  initialDelay?: number;
  /** The longest delay before any reconnection, in milliseconds; 60000 by default. */
  maxDelay?: number;
  /** How long a connection must last until the delays start again at `initialDelay`, in ms; 10000 by default. */
  resetAfter?: number;
  /** Milliseconds for a connection to open; 10000 by default. */
  openTimeout?: number;
  /** Milliseconds between pings of a server that sends nothing; 30000 by default. */
  pingInterval?: number;
  /** Milliseconds for the answer to a ping, after which the connection counts as lost; 10000 by default. */
  pingTimeout?: number;
  /** How many requests may wait for an answer, or for a connection; 256 by default. */
  maxWaiting?: number;
}

/**
 * Why something has failed. The server's codes are "bad_request", "unknown_type", "forbidden", "limit" and "failed".
 * The client's codes are "lost" (the connection was lost before the answer: the server may have done it, or not),
 * "closed", "subscribed" (there is a subscription to this topic already), "unsubscribed" (by the page, meanwhile) and
 * "limit" (`maxWaiting`).
 */
export class RoomsError extends Error {
  constructor(code: string, message: string);
  readonly code: string;
}

/** Rooms on one server. A lost connection is replaced by a new one. */
export interface Rooms {
  readonly state: State;
  /**
   * Subscribe to a topic. All messages go to `onMessage`: first what was missed, then the promise resolves, and live
   * messages follow. Rejects if the server does not allow it. It may be called before there is a connection.
   */
  subscribe(topic: string, onMessage: (message: Message) => void, options?: SubscribeOptions): Promise<Subscription>;
  /** End a subscription: no function of it is called any more. Resolves once the server has confirmed it. */
  unsubscribe(topic: string): Promise<void>;
  /**
   * Publish to a topic. Resolves once the server has the message. While there is no connection, it waits for the next
   * one. Rejects with "lost" if the connection was lost before the answer: the message may have been published, or not.
   */
  publish(topic: string, data: string | ArrayBuffer | ArrayBufferView): Promise<void>;
  /** Ask for the members of a topic. */
  presence(topic: string): Promise<Member[]>;
  /** Close the connection and end all subscriptions. Pending promises reject with "closed". */
  close(): void;
}

/**
 * Connect, and reconnect after each lost connection, until `close`. In a browser, `url` may be relative to the page.
 *
 * Throws TypeError if there is no WebSocket class, or `url` is no URL.
 */
export function connect(url: string | URL, options?: Options): Rooms;
