CREATE INDEX "IDX_8d05f330d0ace62851a6fa8b6a" ON "tasks" ("kind", "status", "id") 
--
CREATE INDEX "IDX_5e3f55cf8fdc3e6f70fa2ccb46" ON "tasks" ("toolId", "kind", "id") 
--
CREATE INDEX "IDX_ba5fcee95f2edb7a4da2ee8ebf" ON "tasks" ("toolId", "kind", "status", "id") 
