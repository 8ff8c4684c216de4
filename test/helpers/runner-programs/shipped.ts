import { attachHosting } from "../../../runner/attach-hosting.ts";
import { main } from "../../../runner/main.ts";

/** The runner as it is shipped, but for its pauses, which are those of TEST_TIMINGS. */
await main(attachHosting, Object(JSON.parse(process.env["TEST_TIMINGS"] ?? "{}")));
