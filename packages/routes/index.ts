export {
  ROUTE_TABLE_SELECTION,
  parseRouteTable,
  routeTableSchema,
  type RefusedRoute,
  type Route,
  type RouteTable,
  type RouteTarget,
} from "./route-table.ts";
