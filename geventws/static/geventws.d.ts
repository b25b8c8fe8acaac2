/** What was published to a topic. */
export interface Message {
  readonly topic: string;
  /** A string for text, bytes for binary. */
  readonly data: string | Uint8Array;
  /** Where it stands in the topic's history; null if the topic keeps none. */
  readonly position: string | null;
}

/** Somebody who is there: the name, and what the server says of that member. */
export interface Member {
  readonly member: string;
  readonly info: unknown;
}

/** Somebody who came to a topic, or left it. */
export interface MemberEvent extends Member {
  readonly topic: string;
}

export interface SubscribeOptions {
  /** Begin with all that the server still has of the topic. */
  history?: boolean;
  /** Begin after this position: one that `Subscription.position` had, perhaps in an earlier visit. */
  since?: string;
  /** Show who is there, and be shown: `Subscription.members`, `onJoin` and `onLeave`. */
  presence?: boolean;
  /** Messages may be missing between the last one and the next: fetch the current state from elsewhere. */
  onGap?(topic: string): void;
  /** Somebody came, or has a new info. Not called for those who were there when we came. */
  onJoin?(event: MemberEvent): void;
  onLeave?(event: MemberEvent): void;
  /** The subscription is over, and not by us: the server does not allow it any more, or wants us to go. */
  onEnd?(error: RoomsError): void;
}

/** A subscription, which lives through any number of connections. */
export interface Subscription {
  readonly topic: string;
  /** The position of the last message; null if the topic keeps no history. */
  readonly position: string | null;
  /** Who is there, and the info of each; with the option `presence`. */
  readonly members: ReadonlyMap<string, unknown>;
  unsubscribe(): Promise<void>;
}

/** "connecting": there is no connection, for now; "closed": and there will be none. */
export type State = "connecting" | "open" | "closed";

export interface Options {
  /** The class to connect with. Needed in Node before 22, which has none: `import WebSocket from "ws"`. */
  WebSocket?: unknown;
  /** The state has changed; with an error, unless it is "open", or closed by `close`. */
  onState?(state: State, error?: RoomsError): void;
  /** Milliseconds: the bound of the first delay before another connection; 1000 by default. It doubles each time. */
  initialDelay?: number;
  /** Milliseconds: the largest bound; 60000 by default. */
  maxDelay?: number;
  /** Milliseconds that a connection lives before the delays begin anew; 10000 by default. */
  resetAfter?: number;
  /** Milliseconds for a connection to open; 10000 by default. */
  openTimeout?: number;
  /** Milliseconds without a word of the server's, after which we ask for one; 30000 by default. */
  pingInterval?: number;
  /** Milliseconds for its answer, after which the connection counts as lost; 10000 by default. */
  pingTimeout?: number;
  /** How many requests may wait for their answer, or for a connection; 256 by default. */
  maxWaiting?: number;
}

/**
 * Why something failed. The codes of the server's errors are "bad_request", "unknown_type", "forbidden", "limit" and
 * "failed". Our own are "lost" (the connection was lost before the answer: it may have been done, or not), "closed",
 * "subscribed" (there is a subscription to this topic already), "unsubscribed" (meanwhile, by us) and "limit"
 * (`maxWaiting`).
 */
export class RoomsError extends Error {
  constructor(code: string, message: string);
  readonly code: string;
}

/** Rooms on one server, over one connection after the other. */
export interface Rooms {
  readonly state: State;
  /**
   * Subscribe to a topic. Resolves once that is done and what was missed has come; until then, and forever after,
   * messages go to `onMessage`. Rejects if the server does not allow it. It may be called before there is a connection.
   */
  subscribe(topic: string, onMessage: (message: Message) => void, options?: SubscribeOptions): Promise<Subscription>;
  /** End a subscription: from now on, nothing of it is called. Resolves once the server knows. */
  unsubscribe(topic: string): Promise<void>;
  /**
   * Publish to a topic. Resolves once the server has the message. While there is no connection, it waits for the next
   * one. Rejects with "lost" if the connection was lost meanwhile: the message may have been published, or not.
   */
  publish(topic: string, data: string | ArrayBuffer | ArrayBufferView): Promise<void>;
  /** Ask who is there. */
  presence(topic: string): Promise<Member[]>;
  /** End it all: the connection, the subscriptions, and whatever waits, which rejects with "closed". */
  close(): void;
}

/**
 * Connect, and come back for as long as it takes. In a browser, `url` may be relative to the page.
 *
 * Throws TypeError if there is no WebSocket class, or `url` is no URL.
 */
export function connect(url: string | URL, options?: Options): Rooms;
