/** Every size and timeout that more than one module leans on, with its unit and its reason. */

/** Source: the ids that pulse-railway's clients send; 24 keeps service names under Railway's 32 characters. */
export const DEPLOYMENT_ID_PATTERN = /^[a-z0-9][a-z0-9-]{0,23}$/;
/** App and project names are DNS labels, since they become host names. */
export const SLUG_PATTERN = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** Characters of a prompt; more is a document, which belongs into the workspace. */
export const PROMPT_LIMIT = 32_000;

/** Events that a hub keeps of one build, the newest: a day's work of an agent is some thousands. */
export const BUILD_EVENTS_KEPT = 20_000;
/** Builds whose events a hub keeps. */
export const BUILDS_KEPT = 200;

/** A preview's link opens it for so long at most. */
export const PREVIEW_LINK_LIMIT_SECONDS = 30 * 86_400;

/** A control body is a few hundred bytes; environment variables make the largest ones. */
export const CONTROL_BODY_LIMIT_BYTES = 64 * 1024;
/** Cloudflare's own limit on a URL is 16 KB. */
export const URL_LIMIT_BYTES = 16 * 1024;
/**
 * What creating a deployment or configuring an app may bring its document to. It is one store value, and Upstash's free
 * tier takes requests of 1 MB: the other half is for what happens to deployments later, 4 KB each at most.
 */
export const APP_DOCUMENT_LIMIT_BYTES = 512 * 1024;
/** Address and resources of one deployment are a few hundred bytes. */
export const PROVISIONED_LIMIT_BYTES = 16 * 1024;
/** Answers of the app contract are tens of bytes; anything larger isn't one. */
export const CONTRACT_ANSWER_LIMIT_BYTES = 64 * 1024;

/** Deployments of one app that are neither removed nor failed. */
export const LIVE_DEPLOYMENTS_LIMIT = 50;
/** Removed and failed deployments that stay readable in the document. */
export const FINISHED_DEPLOYMENTS_KEPT = 20;

/** How long an edge location may serve a routing table without having read it again. */
export const ROUTE_TTL_MS = 5_000;
/** The longest that a request waits for the store when all it has is an expired table of moderate age. */
export const EXPIRED_TABLE_WAIT_MS = 250;
/** The oldest table that is served while the store is down. */
export const LAST_GOOD_TABLE_MS = 6 * 60 * 60 * 1_000;
/** Pause between attempts to reach a store that just failed, so that an outage isn't a stampede. */
export const STORE_RETRY_MS = 1_000;
/** For this long after a failed read no request waits for the next one; it happens in the background. */
export const STORE_OUTAGE_MS = 10_000;
/**
 * One call of the state store, whichever it is, by whoever asks. Edge locations and controllers must give up at the same
 * time: what a slow read may still bring to an edge location decides when a backend can go. Upstash answers in 1 to 300
 * ms, the embedded store too, except after a deploy moved it or while a thousand runners reconnect: that takes seconds.
 */
export const STORE_TIMEOUT_MS = 5_000;

/** One call of the app contract (meta, health, sessions, reload). */
export const CONTRACT_CALL_TIMEOUT_MS = 5_000;
/** Source: pulse-railway verifies a new backend through the router every 2 s. */
export const VERIFY_INTERVAL_MS = 2_000;
/** Railway takes up to 30 minutes to provision a service. */
export const PROVISION_LIMIT_MS = 30 * 60 * 1_000;
/** Pause before a cleanup step that failed is tried again; doubles up to the limit. */
export const CLEANUP_RETRY_MS = 5_000;

/** The cron's period; a janitor that has missed three is stale. */
export const JANITOR_PERIOD_MS = 60_000;
export const JANITOR_STALE_MS = 3 * JANITOR_PERIOD_MS;
/** Longer than a sweep ever takes between two renewals, short enough that a killed janitor is soon replaced. */
export const JANITOR_LEASE_MS = 30_000;

/** Requests that one isolate holds for paused apps; each costs a few KB. */
export const HELD_REQUESTS_LIMIT = 1_000;
/** A repeated mutation within a day is answered from its record. Source: common practice of payment APIs. */
export const IDEMPOTENCY_TTL_SECONDS = 24 * 60 * 60;
/** What a store keeps of one answer for that day: a deployment's view, which is little more than the body that made it. */
export const IDEMPOTENCY_RESULT_LIMIT_BYTES = CONTROL_BODY_LIMIT_BYTES + 8 * 1024;
/** An app's view holds all its deployments; a larger one isn't kept but read again. Thirty rollbacks keep half a MB. */
export const APP_ANSWER_KEPT_BYTES = 16 * 1024;
/** Failed logins per client address and minute before the answer is 429. */
export const AUTH_FAILURES_PER_MINUTE = 60;

/** The subprotocol that both halves must speak to carry streams; its last part is the version. */
export const RUNNER_SUBPROTOCOL = "signalbox.runner.v1";
/** Body of one frame while streams take turns: what one may write before the next one does. */
export const FRAME_BODY_BYTES = 64 * 1024;
/** Body of one frame while a stream is alone; half of what the wire takes, beyond which nothing is gained. */
export const FRAME_BODY_LIMIT_BYTES = 512 * 1024;
/** A message that leaves faster may be followed by a larger one, one that takes longer by a smaller one. */
export const FRAME_GROWS_BELOW_MS = 8;
export const FRAME_SHRINKS_ABOVE_MS = 32;
/** The largest payload that is accepted: a body and the largest head, and room for a later version's larger bodies. */
export const FRAME_PAYLOAD_LIMIT_BYTES = 1024 * 1024 + 256 * 1024;
/** One message: a batch with the largest frame on top. */
export const FRAME_MESSAGE_LIMIT_BYTES = 2 * 1024 * 1024;
/** Source: RFC 6455, a close frame's payload is 125 bytes, two of them the code. */
export const REASON_LIMIT_BYTES = 123;
/** Frames that wait together are written together up to this size. */
export const BATCH_BYTES = 256 * 1024;
/** Cloudflare's limit on all headers is 128 KB; JSON adds to that. */
export const STREAM_HEAD_LIMIT_BYTES = 256 * 1024;
/** What a stream may have under way in each direction to begin with: 10 MB/s at a round trip of 100 ms. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;
/**
 * What the windows of a connection's streams may grow by, all together, in each direction. One alone gets to 70 MB/s at
 * 100 ms; when all of it is stuck, more than half of the connection's window is left.
 */
export const WINDOW_GROWTH_BYTES = 6 * 1024 * 1024;
/** A window that is used up faster than this is large enough: that is 125 MB/s. */
export const WINDOW_GROWS_ABOVE_MS = 8;
/** How long the shortest delay counts as what the way takes by itself. */
export const DELAY_MEMORY_MS = 60_000;
/** What all streams of a connection may have under way in each direction: what a runner's memory is bounded by. */
export const CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024;
/** A receiver grants at the latest after so much; what it keeps to itself is lost to every other stream. */
export const GRANT_STEP_BYTES = 64 * 1024;
/** Of all streams of an app together: else a thousand streams that keep a little each look as if they held all of it. */
export const OWED_LIMIT_BYTES = 256 * 1024;
/**
 * A client that takes nothing of its answer for so long is cut off, if others wait for the room that it takes up.
 * Otherwise sixteen idle downloads would stop a runner's whole connection.
 */
export const STALLED_READER_MS = 20_000;
/** Requests of one runner at a time, and WebSockets apart from them. */
export const REQUESTS_LIMIT = 4_096;
export const SOCKETS_LIMIT = 4_096;
/** Of the requests, those that only the runner's own service gets: logs, uploads, deployments. */
export const OWN_REQUESTS_RESERVE = 256;
/** Requests of one visitor to a runner at a time, and WebSockets: an office behind one address has some hundreds. */
export const VISITOR_STREAMS_LIMIT = 512;
/** A request whose body stands still, or whose answer isn't taken, may lose its place after so long. */
export const STUCK_BODY_MS = 10_000;
/** Any other stream on which nothing moves: a long poll, a stream of events, a WebSocket. */
export const IDLE_STREAM_MS = 60_000;
/** A WebSocket message through the tunnel; larger ones close the socket with 1009. */
export const WEBSOCKET_MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024;
/** A message, or a part of one, counts as at least so much: an empty one is work and memory, too. */
export const MESSAGE_COST_BYTES = 2 * 1024;
/** Messages of a connection that the hub has yet to take in: 40 MB/s at a round trip of 100 ms, or 2,048 empty ones. */
export const MESSAGES_UNDER_WAY_BYTES = 4 * 1024 * 1024;
/**
 * What one WebSocket may send to its visitor at once, and then per second: twice what a screen in high resolution takes. The
 * runner holds the app back; the hub closes a socket of a runner that doesn't (1013), with as much again to spare.
 */
export const SOCKET_BURST_BYTES = 32 * 1024 * 1024;
export const SOCKET_BYTES_PER_SECOND = 8 * 1024 * 1024;
/**
 * Messages of one visitor's WebSocket at once, and then per second; and while all visitors of an app send more than the app's
 * numbers, at once. The hub can't hold a visitor back: it closes the socket (1013). A game sends 60 a second.
 */
export const VISITOR_MESSAGES_BURST = 8_192;
export const VISITOR_MESSAGES_PER_SECOND = 2_000;
export const APP_MESSAGES_BURST = 16_384;
export const APP_MESSAGES_PER_SECOND = 8_000;
export const VISITOR_MESSAGES_BURST_OF_BUSY_APP = 512;
/** A visitor who takes nothing of a joined WebSocket for so long is closed: longer than a phone is in a tunnel. */
export const DEAF_VISITOR_MS = 60_000;
/** From a stream's opening to its answer's head. Source: Railway's edge gives up at 15 minutes, proxies at a minute. */
export const STREAM_HEAD_TIMEOUT_MS = 300_000;
/** A control message is JSON; file contents are the largest that it carries. */
export const CONTROL_MESSAGE_LIMIT_BYTES = 4 * 1024 * 1024;

/** How a runner and its hub know that the other is there; the times are those of the SentryVibe runner. */
export const RUNNER_STATUS_INTERVAL_MS = 15_000;
export const RUNNER_PING_INTERVAL_MS = 30_000;
export const RUNNER_SILENCE_LIMIT_MS = 45_000;
export const RUNNER_LOST_AFTER_MS = 90_000;
export const RECONNECT_FIRST_MS = 1_000;
export const RECONNECT_LIMIT_MS = 30_000;
export const STABLE_CONNECTION_MS = 10_000;
/** A runner's id is a part of URLs. */
export const RUNNER_ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** Parts of WebSocket messages that wait for their rest, of one connection in all. */
export const PARTIAL_MESSAGES_LIMIT_BYTES = 32 * 1024 * 1024;
/** A message whose next part takes longer won't be completed. */
export const PARTIAL_MESSAGE_TIMEOUT_MS = 60_000;
/**
 * An id that connects again so often in {@link CONFLICT_WINDOW_MS} is used by two runners. A runner that was replaced
 * comes back after {@link REPLACED_DELAY_MS}, so two of them replace each other about once in that time.
 */
export const CONFLICT_REPLACEMENTS = 3;
export const REPLACED_DELAY_MS = 60_000;
export const CONFLICT_WINDOW_MS = 4 * REPLACED_DELAY_MS;
/** The conflict is over when nobody was replaced for so long. */
export const CONFLICT_MEMORY_MS = 300_000;
/** A source archive. Source: Cloudflare's own limit on bodies is 100 MB to 500 MB by plan. */
export const SOURCES_LIMIT_BYTES = 512 * 1024 * 1024;
/** The longest that a caller may wait for a command's result; a build takes minutes. */
export const COMMAND_WAIT_LIMIT_SECONDS = 900;
/** What is kept of a runner's events for people to look at. */
export const RECENT_EVENTS_KEPT = 100;
export const RECENT_EVENT_LIMIT_BYTES = 8 * 1024;
/** Labels of one runner that targets can ask for, each an entry of the registry's index. */
export const RUNNER_LABELS_LIMIT = 32;
/** Characters of a label's name, and of its value. */
export const RUNNER_LABEL_LIMIT = 63;
/** Runners that placement asks for their load and for the source; each is a call of its hub. */
export const PLACEMENT_CANDIDATES_LIMIT = 100;
/** Runners that the SentryVibe broker's status endpoint answers for; each is one call of its hub. */
export const STATUS_CONNECTIONS_LIMIT = 500;
/** The close code of a socket that was silent for too long. */
export const CLOSE_LOST = 4_008;
/** The close code of a socket whose credential was revoked. */
export const CLOSE_REVOKED = 4_003;
/** The close code of a socket whose id connected again. */
export const CLOSE_REPLACED = 4_009;
/** The close code of a peer that broke the protocol. */
export const CLOSE_PROTOCOL_ERROR = 1_002;
/** From SIGTERM to SIGKILL. */
export const STOP_GRACE_MS = 10_000;

/** One call of the runner's own API by the control plane: installing and building go on without it. */
export const RUNNER_CALL_TIMEOUT_MS = 15_000;
/** A page of a build's log is the largest answer. */
export const RUNNER_ANSWER_LIMIT_BYTES = 2 * 1024 * 1024;
/** The longest that a reader of a deployment's log may wait for its next line: proxies end what is silent for a minute. */
export const LOG_WAIT_LIMIT_SECONDS = 50;
/** Lines in one page of a log. */
export const LOG_PAGE_LINES = 1_000;
/** How often a build's progress is asked for: often enough for its log to look live. */
export const RUNNER_POLL_MS = 500;
